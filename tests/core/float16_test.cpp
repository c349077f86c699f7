#include <bit>
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include <thimble/core/float16.h>

namespace thimble {
namespace {

float16 with_bits(uint32_t bits) {
  float16 half;
  half.bits = static_cast<uint16_t>(bits);
  return half;
}

TEST(Float16, HoldsEveryNumberByItsDefinition) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const int exponent = static_cast<int>(bits >> 10 & 31u), mantissa = static_cast<int>(bits & 1023u);
    const double sign = bits & 0x8000u ? -1 : 1;
    const auto value = static_cast<float>(with_bits(bits));
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

TEST(Float16, KeepsEveryOneOfItsOwnValues) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto value = static_cast<float>(with_bits(bits));
    const float16 again(value);
    EXPECT_EQ(again.bits, std::isnan(value) ? bits | 0x200u : bits);
  }
}

// Between all neighbours, the middle and the floats beside it.
TEST(Float16, RoundsToTheNearestAndHalfToEven) {
  for (uint32_t low = 0; low < 0x7bff; ++low) {
    const auto a = static_cast<float>(with_bits(low)), b = static_cast<float>(with_bits(low + 1));
    const float middle = a + (b - a) / 2;  // exact
    for (const float sign : {1.0f, -1.0f}) {
      const uint32_t sign_bit = sign < 0 ? 0x8000u : 0;
      EXPECT_EQ(float16(sign * middle).bits, sign_bit | (low % 2 == 0 ? low : low + 1));
      EXPECT_EQ(float16(sign * std::nextafter(middle, a)).bits, sign_bit | low);
      EXPECT_EQ(float16(sign * std::nextafter(middle, b)).bits, sign_bit | (low + 1));
    }
  }
}

TEST(Float16, KeepsInfinityZeroSignsAndNaN) {
  constexpr float inf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(float16(inf).bits, 0x7c00);
  EXPECT_EQ(float16(-inf).bits, 0xfc00);
  EXPECT_EQ(float16(65520.0f).bits, 0x7c00);
  EXPECT_EQ(float16(std::nextafter(65520.0f, 0.0f)).bits, 0x7bff);
  EXPECT_EQ(float16(std::numeric_limits<float>::max()).bits, 0x7c00);
  EXPECT_EQ(float16(-0.0f).bits, 0x8000);
  EXPECT_EQ(float16(-1e-30f).bits, 0x8000);
  EXPECT_TRUE(std::isnan(static_cast<float>(float16(std::numeric_limits<float>::quiet_NaN()))));
  EXPECT_TRUE(std::isnan(static_cast<float>(float16(std::bit_cast<float>(0x7f800001u)))));  // its payload is dropped
}

TEST(Float16, ConvertsFromAndToOtherNumbers) {
  EXPECT_EQ(static_cast<int>(float16(42)), 42);
  EXPECT_EQ(static_cast<double>(float16(0.5)), 0.5);
  EXPECT_EQ(float16(1 + 0x1p-11 + 0x1p-40), float16(1 + 0x1p-10)) << "rounded once";
  EXPECT_TRUE(float16(0.0f) == float16(-0.0f));
  EXPECT_FALSE(float16(1.0f) == float16(2.0f));
}

}  // namespace
}  // namespace thimble
