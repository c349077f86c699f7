#include <bit>
#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thimble/core/dtype.h>

namespace thimble {
namespace {

using testing::ThrowsMessage;

TEST(DTypes, NamesRoundTrip) {
  for (DType dtype : kAllDTypes) EXPECT_EQ(dtype_from_name(name(dtype)), dtype);
  EXPECT_THAT([] { dtype_from_name("half"); }, ThrowsMessage<ValueError>("unknown dtype 'half'"));
  EXPECT_THROW(dtype_from_name(""), ValueError);
}

TEST(DTypes, DispatchGivesTheElementType) {
  for (DType dtype : kAllDTypes) {
    dispatch(dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      EXPECT_EQ(dtype_of<T>, dtype);
      EXPECT_EQ(itemsize(dtype), sizeof(T)) << dtype;
    });
  }
}

TEST(DTypes, DispatchFloatRefusesStorageTypes) {
  for (DType dtype : kAllDTypes) {
    bool called = false;
    auto run = [&] {
      dispatch_float(dtype, "relu", [&](auto tag) {
        called = true;
        EXPECT_EQ(dtype_of<typename decltype(tag)::type>, dtype);
      });
    };
    if (is_differentiable(dtype)) {
      run();
      EXPECT_TRUE(called) << dtype;
    } else {
      EXPECT_THAT(run, ThrowsMessage<DTypeError>(str("relu: expects float32 or float64, got ", dtype,
                                                     ", a storage type; convert it with NDArray::to()")));
    }
  }
}

TEST(DTypes, DispatchWidthGivesUnsignedIntegersAsWide) {
  for (DType dtype : kAllDTypes) {
    dispatch_width(dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      EXPECT_TRUE(std::is_unsigned_v<T>);
      EXPECT_EQ(itemsize(dtype), sizeof(T)) << dtype;
    });
  }
}

float rounded(float x) { return static_cast<float>(bfloat16(x)); }

TEST(Bfloat16, KeepsEveryOneOfItsOwnValues) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    bfloat16 value;
    value.bits = static_cast<uint16_t>(bits);
    const bfloat16 again(static_cast<float>(value));
    if (std::isnan(static_cast<float>(value))) {
      EXPECT_TRUE(std::isnan(static_cast<float>(again)));
    } else {
      EXPECT_EQ(again.bits, bits);
    }
  }
}

TEST(Bfloat16, RoundsHalfToEven) {
  constexpr float ulp = 0x1p-7f;  // of 1
  EXPECT_EQ(rounded(1 + 0.5f * ulp), 1);
  EXPECT_EQ(rounded(1 + 1.5f * ulp), 1 + 2 * ulp);
  EXPECT_EQ(rounded(1 + 0.501f * ulp), 1 + ulp);
  EXPECT_EQ(rounded(-1 - 0.5f * ulp), -1);
  EXPECT_EQ(rounded(2 - 0.25f * ulp), 2);
}

TEST(Bfloat16, RoundsToTheNearestValue) {
  // Between neighbours, against the distances themselves.
  for (uint32_t low = 0x3f00; low < 0x4100; ++low) {
    const float a = std::bit_cast<float>(low << 16), b = std::bit_cast<float>((low + 1) << 16);
    for (float part : {0.1f, 0.3f, 0.49f, 0.51f, 0.9f}) EXPECT_EQ(rounded(a + part * (b - a)), part < 0.5f ? a : b);
  }
}

TEST(Bfloat16, KeepsInfinityZeroSignsAndNaN) {
  constexpr float inf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(rounded(inf), inf);
  EXPECT_EQ(rounded(-inf), -inf);
  EXPECT_EQ(rounded(std::numeric_limits<float>::max()), inf);
  EXPECT_TRUE(std::signbit(rounded(-0.0f)));
  EXPECT_TRUE(std::isnan(rounded(std::numeric_limits<float>::quiet_NaN())));
  EXPECT_TRUE(std::isnan(rounded(std::bit_cast<float>(0x7f800001u))));  // all of its payload lies in the dropped half
}

TEST(Bfloat16, ConvertsFromAndToOtherNumbers) {
  EXPECT_EQ(static_cast<int>(bfloat16(42)), 42);
  EXPECT_EQ(static_cast<double>(bfloat16(0.5)), 0.5);
  EXPECT_TRUE(bfloat16(0.0f) == bfloat16(-0.0f));
  EXPECT_FALSE(bfloat16(1.0f) == bfloat16(2.0f));
}

}  // namespace
}  // namespace thimble
