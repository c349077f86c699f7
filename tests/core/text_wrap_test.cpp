#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thimble/core/text_wrap.h>

namespace thimble::detail {
namespace {

using testing::ElementsAre;

TEST(TextWrap, BreaksAtBlanks) {
  EXPECT_THAT(wrapped("one two three", 13), ElementsAre("one two three"));
  EXPECT_THAT(wrapped("one two three", 12), ElementsAre("one two", "three"));
  EXPECT_THAT(wrapped("one two three", 6), ElementsAre("one", "two", "three"));
  EXPECT_THAT(wrapped("", 5), ElementsAre(""));
}

TEST(TextWrap, BreaksLongWordsAtMarksOrAnywhere) {
  EXPECT_THAT(wrapped("layer1.block2.conv", 10), ElementsAre("layer1.", "block2.", "conv"));
  EXPECT_THAT(wrapped("{minmax,mse,entropy}", 12), ElementsAre("{minmax,mse,", "entropy}"));
  EXPECT_THAT(wrapped("a xxxxxxxxxxxx b", 5), ElementsAre("a", "xxxxx", "xxxxx", "xx b"));
}

TEST(TextWrap, CountsCharactersAndBreaksNone) {
  EXPECT_EQ(text_width("µs ± 1"), 6u);
  EXPECT_THAT(wrapped("µµµµµ", 2), ElementsAre("µµ", "µµ", "µ"));
  EXPECT_THAT(wrapped("µ ± x", 3), ElementsAre("µ ±", "x"));
}

TEST(TextWrap, NoLineIsTooLongAndNothingIsLost) {
  const std::string text = "Ein langer Text, with_names.of.things and a µ-second: 1,2,3,4,5,6,7,8,9 =end";
  const auto letters = [](std::string all) {
    std::erase(all, ' ');
    return all;
  };
  for (size_t width = 0; width < 90; ++width) {
    std::string all;
    for (const std::string& line : wrapped(text, width)) {
      EXPECT_LE(text_width(line), std::max<size_t>(width, 1));
      all += line;
    }
    EXPECT_EQ(letters(all), letters(text));
  }
}

}  // namespace
}  // namespace thimble::detail
