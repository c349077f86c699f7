#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thimble/core/error.h>
#include <thimble/core/shape.h>

namespace thimble {
namespace {

using testing::ThrowsMessage;

struct Streamed {
  int value;
  friend std::ostream& operator<<(std::ostream& out, const Streamed& s) { return out << '<' << s.value << '>'; }
};

TEST(Errors, StrStreamsItsArguments) {
  char text[8] = "buffer";
  const char* pointer = "pointer";
  EXPECT_EQ(str(), "");
  EXPECT_EQ(str("one"), "one");
  EXPECT_EQ(str(text, ' ', pointer, ' ', std::string("string"), ' ', std::string_view("view")),
            "buffer pointer string view");
  EXPECT_EQ(str(1, ' ', -2L, ' ', 3u, ' ', 0.5, ' ', 1.5f, ' ', true), "1 -2 3 0.5 1.5 1");
  EXPECT_EQ(str(Shape{2, 3}, Streamed{7}), "[2,3]<7>");
  EXPECT_EQ(str(std::string(5000, 'x')), std::string(5000, 'x'));
}

TEST(Errors, CheckThrowsWhatItIsToldUnlessAllIsWell) {
  EXPECT_NO_THROW(check(true, "never ", 1));
  EXPECT_THAT([] { check(false, "is ", 1, ", not ", 2.5); }, ThrowsMessage<ValueError>("is 1, not 2.5"));
  EXPECT_THAT([] { check<ShapeError>(false, Shape{2}, " differs"); }, ThrowsMessage<ShapeError>("[2] differs"));
  EXPECT_THAT([] { check<FormatError>(false); }, ThrowsMessage<FormatError>(""));
}

}  // namespace
}  // namespace thimble
