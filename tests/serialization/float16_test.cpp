#include <cmath>

#include <gtest/gtest.h>

#include <thimble/serialization/float16.h>

namespace thimble {
namespace {

TEST(Float16, ReadsEveryNumberByItsDefinition) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const int exponent = static_cast<int>(bits >> 10 & 31u), mantissa = static_cast<int>(bits & 1023u);
    const double sign = bits & 0x8000u ? -1 : 1;
    const float value = float16_to_float(static_cast<uint16_t>(bits));
    EXPECT_EQ(std::signbit(value), sign < 0) << bits;
    if (exponent == 31) {
      EXPECT_TRUE(mantissa ? std::isnan(value) : std::isinf(value)) << bits;
    } else if (exponent == 0) {
      EXPECT_EQ(value, sign * std::ldexp(mantissa, -24)) << bits;
    } else {
      EXPECT_EQ(value, sign * std::ldexp(1024 + mantissa, exponent - 25)) << bits;
    }
  }
}

}  // namespace
}  // namespace thimble
