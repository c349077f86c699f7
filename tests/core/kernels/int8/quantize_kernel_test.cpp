#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "tests/core/special_values.h"
#include <thimble/core/error.h>
#include <thimble/core/kernels/int8/quantize.h>
#include <thimble/core/parallel.h>
#include <thimble/core/platform/isa.h>

namespace thimble::kernels {
namespace {

// The definition, element by element.
int64_t expected(float x, const QuantizeArgs& a) {
  const float ratio = x / a.scale;
  if (std::isnan(ratio) || ratio < -1e6f) return a.low;
  if (ratio > 1e6f) return a.high;
  return std::clamp<int64_t>(std::lrintf(ratio) + a.zero_point, a.low, a.high);
}

class QuantizeKernel : public testing::Test {
 protected:
  ~QuantizeKernel() override {
    set_isa(isa_);
    set_num_threads(threads_);
  }

  template <typename F>
  void on_every_isa(F body) {
    for (Isa isa : available_isas()) {
      for (int threads : {1, 2}) {
        set_isa(isa);
        set_num_threads(threads);
        SCOPED_TRACE(str(name(isa), ", ", threads, " threads"));
        body();
      }
    }
  }

  // Quantizes on every instruction set; the element past the end must stay.
  template <typename Q>
  void expect_quantized(const std::vector<float>& x, const QuantizeArgs& args) {
    on_every_isa([&] {
      std::vector<Q> out(x.size() + 1, Q{77});
      quantize(x.data(), static_cast<int64_t>(x.size()), args, out.data());
      for (size_t i = 0; i < x.size(); ++i)
        ASSERT_EQ(int64_t{out[i]}, expected(x[i], args)) << x[i] << " / " << args.scale << " + " << args.zero_point;
      ASSERT_EQ(out.back(), Q{77});
    });
  }

  template <typename Q>
  void expect_dequantized(const std::vector<Q>& q, float scale, int32_t zero_point) {
    on_every_isa([&] {
      std::vector<float> out(q.size() + 1, 77.0f);
      dequantize(q.data(), static_cast<int64_t>(q.size()), scale, zero_point, out.data());
      for (size_t i = 0; i < q.size(); ++i) ASSERT_EQ(out[i], scale * static_cast<float>(q[i] - zero_point));
      ASSERT_EQ(out.back(), 77.0f);
    });
  }

  std::vector<float> normal(size_t n, float deviation) {
    std::normal_distribution<float> distribution(0, deviation);
    std::vector<float> x(n);
    for (float& v : x) v = distribution(rng_);
    return x;
  }

  Isa isa_ = active_isa();
  int threads_ = num_threads();
  std::mt19937 rng_{11};
};

TEST_F(QuantizeKernel, FollowsTheDefinitionForRandomValues) {
  for (size_t n : {0u, 1u, 2u, 15u, 16u, 17u, 63u, 64u, 65u, 100u, 1001u, 70001u}) {
    for (float scale : {1.0f, 0.1f, 0.00731f, 12.5f, 1e-30f, 1e30f}) {
      const auto zero_point = static_cast<int32_t>(rng_() % 256);
      const std::vector<float> x = normal(n, 60 * scale);
      ASSERT_NO_FATAL_FAILURE(expect_quantized<uint8_t>(x, {scale, zero_point, 0, 255}));
      ASSERT_NO_FATAL_FAILURE(expect_quantized<int8_t>(x, {scale, zero_point - 128, -127, 127}));
      ASSERT_NO_FATAL_FAILURE(expect_quantized<uint8_t>(x, {scale, 7, 7, 15}));
    }
  }
}

TEST_F(QuantizeKernel, DividesTrulyAtTheEdgesOfRounding) {
  for (float scale : {1.0f, 0.1f, 1.0f / 3, 0.0123f, 3e-39f, 1e-45f, 1.7e38f}) {
    std::vector<float> x;
    for (int i = -600; i <= 600; ++i) {
      const float edge = static_cast<float>(i) / 2 * scale;
      for (float v : {edge, std::nextafter(edge, kInf), std::nextafter(edge, -kInf)}) x.push_back(v);
    }
    // With values between the edges, so that some stretches hold one edge and others none.
    for (size_t i = 0, n = x.size(); i < 20 * n; ++i) x.push_back(i % 97 == 0 ? x[i % n] : scale * 0.3f);
    ASSERT_NO_FATAL_FAILURE(expect_quantized<uint8_t>(x, {scale, 128, 0, 255}));
    ASSERT_NO_FATAL_FAILURE(expect_quantized<int8_t>(x, {scale, 0, -128, 127}));
  }
}

TEST_F(QuantizeKernel, MakesPixelsOfPlanes) {
  EXPECT_FALSE(can_quantize_to_channels_last(1));
  for (const int64_t channels : {2, 3, 4}) {
    ASSERT_TRUE(can_quantize_to_channels_last(channels));
    for (const int64_t pixels : {1, 7, 1023, 1024, 1025, 20000}) {
      const int64_t images = 3, n = images * channels * pixels;
      const QuantizeArgs args{0.1f, 121, 0, 255};
      const std::vector<float> x = normal(static_cast<size_t>(n), 5);
      on_every_isa([&] {
        std::vector<uint8_t> out(x.size() + 1, 77);
        quantize_to_channels_last(x.data(), images, channels, pixels, args, out.data());
        for (int64_t i = 0; i < n; ++i) {
          const int64_t pixel = i / channels % pixels, image = i / channels / pixels;
          const int64_t from = (image * channels + i % channels) * pixels + pixel;
          ASSERT_EQ(int64_t{out[static_cast<size_t>(i)]}, expected(x[static_cast<size_t>(from)], args)) << i;
        }
        ASSERT_EQ(out.back(), 77);
      });
    }
  }
}

TEST_F(QuantizeKernel, RoundsHalfToEven) {
  const std::vector<float> x{-2.5f, -1.5f, -0.5f, 0.5f, 1.5f, 2.5f};
  on_every_isa([&] {
    std::vector<int8_t> out(x.size());
    quantize(x.data(), 6, {1, 0, -128, 127}, out.data());
    EXPECT_EQ(out, (std::vector<int8_t>{-2, -2, 0, 0, 2, 2}));
  });
}

TEST_F(QuantizeKernel, GivesNaNAndInfinityDefinedResults) {
  for (size_t n : {5u, 64u, 133u}) {
    std::vector<float> x(n, 1.0f);
    for (size_t i = 0; i < n; ++i) {
      const float special[] = {kNaN, kInf, -kInf, 3e38f, -3e38f};
      x[i] = special[i % 5];
    }
    on_every_isa([&] {
      std::vector<uint8_t> out(n);
      quantize(x.data(), static_cast<int64_t>(n), {0.5f, 100, 3, 250}, out.data());
      const uint8_t answers[] = {3, 250, 3, 250, 3};
      for (size_t i = 0; i < n; ++i) EXPECT_EQ(out[i], answers[i % 5]) << x[i];
    });
  }
}

TEST_F(QuantizeKernel, DequantizesEveryValue) {
  std::vector<uint8_t> bytes;
  std::vector<int8_t> signed_bytes;
  for (int i = 0; i < 256; ++i) {
    bytes.push_back(static_cast<uint8_t>(i));
    signed_bytes.push_back(static_cast<int8_t>(i - 128));
  }
  for (int32_t zero_point : {0, 3, 127}) {
    ASSERT_NO_FATAL_FAILURE(expect_dequantized(bytes, 0.037f, zero_point));
    ASSERT_NO_FATAL_FAILURE(expect_dequantized(signed_bytes, 0.037f, zero_point));
  }
  std::vector<int32_t> sums(70003);
  for (int32_t& v : sums) v = static_cast<int32_t>(rng_());
  sums[0] = std::numeric_limits<int32_t>::min();
  ASSERT_NO_FATAL_FAILURE(expect_dequantized(sums, 1e-5f, 0));
}

TEST_F(QuantizeKernel, MeasuresItsErrorAlikeEverywhere) {
  for (const size_t n : {size_t{0}, size_t{1}, size_t{15}, size_t{16}, size_t{1023}, size_t{5000}, size_t{100001}}) {
    const std::vector<float> steps = normal(n, 40);
    for (const QuantizeArgs& args : {QuantizeArgs{0.05f, 100, 0, 255}, QuantizeArgs{0.5f, 0, -7, 7},
                                     QuantizeArgs{1e-30f, 3, 0, 15}, QuantizeArgs{1e30f, 3, 0, 15}}) {
      std::vector<float> x = steps;
      for (float& v : x) v *= args.scale;
      double expected_sum = 0;
      for (const float v : x) {
        const double error = double{v / args.scale} - static_cast<double>(expected(v, args) - args.zero_point);
        expected_sum += error * error;
      }
      const double first = squared_steps_error(x.data(), static_cast<int64_t>(n), args);
      EXPECT_NEAR(first, expected_sum, 1e-5 * expected_sum);
      on_every_isa(
          [&] { EXPECT_EQ(squared_steps_error(x.data(), static_cast<int64_t>(n), args), first) << "of " << n; });
    }
  }
}

}  // namespace
}  // namespace thimble::kernels
