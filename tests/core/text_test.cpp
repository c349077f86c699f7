#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thimble/core/text.h>

namespace thimble::detail {
namespace {

TEST(Text, KnowsWellFormedUtf8) {
  for (const char* text : {"", "plain", "h\u00e9llo", "\u20ac", "\U0001f600", "\u07ff\u0800\uffff"})
    EXPECT_TRUE(is_utf8(text)) << text;
  EXPECT_TRUE(is_utf8("\xf4\x8f\xbf\xbf"));
  for (const char* text : {"\x80", "\xc0\xaf", "\xc1\xbf", "\xc3", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xe2\x82",
                           "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xe2\x28\xa1", "ok\xff"})
    EXPECT_FALSE(is_utf8(text)) << quote(text);
}

TEST(Text, QuotesOnOneSafeLine) {
  EXPECT_EQ(quote("conv1.weight"), "'conv1.weight'");
  EXPECT_EQ(quote(""), "''");
  EXPECT_EQ(quote("a\nb\tc\x1b[31m\x7f"), "'a\\nb\\x09c\\x1b[31m\\x7f'");
  EXPECT_EQ(quote("\u009b31m \u00e9"), "'\\xc2\\x9b31m \u00e9'");
  EXPECT_EQ(quote("\xff\xc3"), "'\\xff\\xc3'");
  EXPECT_EQ(quote(std::string_view("\0", 1)), "'\\x00'");
}

TEST(Text, EscapesWhatEndsALineOrTurnsTheTextAroundIt) {
  EXPECT_EQ(printable("a\u2028b\u2029"), "a\\xe2\\x80\\xa8b\\xe2\\x80\\xa9");
  for (const char* text : {"\u202a", "\u202b", "\u202c", "\u202d", "\u202e", "\u2066", "\u2067", "\u2068", "\u2069"}) {
    EXPECT_THAT(printable(text), testing::StartsWith("\\xe2\\x8"));
    EXPECT_THAT(printable(text), testing::SizeIs(12));
  }
  for (const char* text : {"\u00a0", "\u00ae", "\u2027", "\u202f", "\u2065", "\u206a", "\U0001202e", "\U00012066"})
    EXPECT_EQ(printable(text), text);
}

TEST(Text, ShortensWithoutCuttingACharacter) {
  EXPECT_EQ(quote(std::string(80, 'x')), "'" + std::string(80, 'x') + "'");
  EXPECT_EQ(quote(std::string(81, 'x')), "'" + std::string(80, 'x') + "...'");
  EXPECT_EQ(quote("ab\u20ac\u20ac", 6), "'ab\u20ac...'");
  for (size_t limit = 0; limit < 20; ++limit) EXPECT_TRUE(is_utf8(quote("\u00e9\u20ac\U0001f600\u00e9\u20ac", limit)));
}

}  // namespace
}  // namespace thimble::detail
