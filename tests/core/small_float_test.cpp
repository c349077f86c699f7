#include <cmath>

#include <gtest/gtest.h>

#include <thimble/core/small_float.h>

namespace thimble {
namespace {

constexpr SmallFloat kSmallFloats[] = {SmallFloat::float8e4m3fn, SmallFloat::float8e4m3fnuz, SmallFloat::float8e5m2,
                                       SmallFloat::float8e5m2fnuz, SmallFloat::float4e2m1};

// Of the standards' tables.
TEST(SmallFloat, BitsHaveTheValuesOfTheirFormat) {
  const struct {
    SmallFloat format;
    uint8_t bits;
    float value;
  } cases[] = {{SmallFloat::float8e4m3fn, 0x7e, 448}, {SmallFloat::float8e4m3fn, 0x01, 0x1p-9f},
               {SmallFloat::float8e4m3fn, 0x38, 1},   {SmallFloat::float8e4m3fnuz, 0x7f, 240},
               {SmallFloat::float8e4m3fnuz, 0x40, 1}, {SmallFloat::float8e5m2, 0x7b, 57344},
               {SmallFloat::float8e5m2, 0xbc, -1},    {SmallFloat::float8e5m2, 0xfc, -INFINITY},
               {SmallFloat::float8e5m2fnuz, 0x40, 1}, {SmallFloat::float8e5m2fnuz, 0x01, 0x1p-17f},
               {SmallFloat::float4e2m1, 0x7, 6},      {SmallFloat::float4e2m1, 0x9, -0.5f}};
  for (const auto& c : cases) EXPECT_EQ(small_float_value(c.bits, c.format), c.value) << int{c.bits};
  EXPECT_TRUE(std::isnan(small_float_value(0x7f, SmallFloat::float8e4m3fn)));
  EXPECT_TRUE(std::isnan(small_float_value(0x80, SmallFloat::float8e4m3fnuz)));
  EXPECT_TRUE(std::isnan(small_float_value(0x7d, SmallFloat::float8e5m2)));
}

TEST(SmallFloat, RoundingFindsTheNearestValueHalfToEven) {
  for (const SmallFloat format : kSmallFloats) {
    const int count = format == SmallFloat::float4e2m1 ? 8 : 128;  // those that are not negative
    for (int bits = 0; bits + 1 < count; ++bits) {
      const float a = small_float_value(static_cast<uint8_t>(bits), format);
      const float b = small_float_value(static_cast<uint8_t>(bits + 1), format);
      if (!std::isfinite(a) || !std::isfinite(b)) break;
      const float middle = (a + b) / 2, even = bits % 2 == 0 ? a : b;
      EXPECT_EQ(round_to_small_float(a, format), a);
      EXPECT_EQ(round_to_small_float(-middle, format), -even) << bits;
      EXPECT_EQ(round_to_small_float(std::nextafter(middle, 1e9f), format), b) << bits;
      EXPECT_EQ(round_to_small_float(std::nextafter(middle, 0.0f), format), a) << bits;
    }
  }
}

TEST(SmallFloat, WhatIsTooLargeSaturatesOrDoesNot) {
  EXPECT_EQ(round_to_small_float(1e9f, SmallFloat::float8e4m3fn), 448);
  EXPECT_EQ(round_to_small_float(464, SmallFloat::float8e4m3fn, false), 448);  // the middle to the next: to even
  EXPECT_TRUE(std::isnan(round_to_small_float(465, SmallFloat::float8e4m3fn, false)));
  EXPECT_EQ(round_to_small_float(-1e9f, SmallFloat::float8e5m2, false), -INFINITY);
  EXPECT_EQ(round_to_small_float(-INFINITY, SmallFloat::float8e5m2), -57344);
  EXPECT_TRUE(std::isnan(round_to_small_float(NAN, SmallFloat::float8e5m2fnuz)));
  EXPECT_FALSE(std::signbit(round_to_small_float(-0.0f, SmallFloat::float8e4m3fnuz)));
  EXPECT_EQ(small_float_from_name("float8e5m2fnuz"), SmallFloat::float8e5m2fnuz);
  EXPECT_EQ(small_float_from_name("float8"), std::nullopt);
}

}  // namespace
}  // namespace thimble
