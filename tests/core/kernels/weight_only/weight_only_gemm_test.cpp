#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "tests/core/kernels/at.h"
#include "tests/core/special_values.h"
#include <thimble/core/error.h>
#include <thimble/core/kernels/weight_only/bit_packing.h>
#include <thimble/core/kernels/weight_only/weight_only_gemm.h>
#include <thimble/core/parallel.h>
#include <thimble/core/platform/isa.h>

namespace thimble::kernels {
namespace {

// A random product with its answer from the definition in weight_only_gemm.h. Inputs and outputs are strided, with
// guard values between the rows of the output, and the input ends with its last row, so that a sanitizer sees any read
// past it.
struct WeightOnlyProblem {
  int64_t m, n, k, group_size, groups, lda, ldc;
  int bits;
  bool affine, relu, has_bias;
  std::vector<float> x, scales, bias;
  std::vector<uint8_t> w, packed, zero_points;

  // The last group has `missing` features less.
  WeightOnlyProblem(int64_t m_, int64_t n_, int64_t groups_, int64_t group_size_, int bits_, std::mt19937& rng,
                    int64_t missing = 0)
      : m(m_),
        n(n_),
        k(groups_ * group_size_ - missing),
        group_size(group_size_),
        groups(groups_),
        lda(k + rng() % 3),
        ldc(n + rng() % 3),
        bits(bits_),
        affine(rng() % 2),
        relu(rng() % 2),
        has_bias(rng() % 2),
        x(at(m == 0 ? 0 : (m - 1) * lda + k)),
        scales(at(n * groups)),
        bias(at(n)),
        w(at(n * k)),
        packed(at(n * packed_bytes(k, bits))),
        zero_points(at(n * groups)) {
    std::normal_distribution<float> normal;
    for (float& v : x) v = normal(rng);
    for (float& v : scales) v = static_cast<float>(1 + rng() % 100) * 0.001f;
    for (float& v : bias) v = normal(rng);
    for (uint8_t& v : w) v = static_cast<uint8_t>(rng() % (1u << bits));
    for (uint8_t& v : zero_points) v = static_cast<uint8_t>(rng() % (1u << bits));
    pack();
  }

  void pack() {
    for (int64_t c = 0; c < n; ++c) pack_bits(w.data() + c * k, k, bits, packed.data() + c * packed_bytes(k, bits));
  }

  int zero_point(int64_t channel, int64_t group) const {
    return affine ? zero_points[at(channel * groups + group)] : 1 << (bits - 1);
  }
  float scale(int64_t channel, int64_t group) const { return scales[at(channel * groups + group)]; }
  int64_t end(int64_t group) const { return std::min(k, (group + 1) * group_size); }

  float expected(int64_t row, int64_t channel) const {
    float acc = 0;
    for (int64_t group = 0; group < groups; ++group)
      for (int64_t i = group * group_size; i < end(group); i += weight_only_block(bits)) {
        const float* block = &x[at(row * lda + i)];
        const int64_t size = std::min(end(group) - i, weight_only_block(bits));
        float s = 0;
        for (int64_t j = 0; j < size; ++j) s = std::isfinite(block[j]) ? std::max(s, std::abs(block[j])) : kNaN;
        for (int64_t j = 0; j < size; ++j)
          if (!std::isfinite(block[j])) s = kNaN;
        s = std::isnan(s) ? s : std::max(s / 32512, std::numeric_limits<float>::min());
        int64_t sum = 0;
        if (!std::isnan(s))
          for (int64_t j = 0; j < size; ++j)
            sum += (int64_t{w[at(channel * k + i + j)]} - zero_point(channel, group)) * std::lrintf(block[j] * (1 / s));
        EXPECT_EQ(sum, static_cast<int32_t>(sum)) << "the sum leaves int32";
        acc = acc + static_cast<float>(sum) * (s * scale(channel, group));
      }
    if (has_bias) acc += bias[at(channel)];
    return relu && acc < 0 ? 0 : acc;
  }

  std::vector<float> blank() const { return std::vector<float>(at(m * ldc + 1), 77.0f); }
  std::vector<float> expected() const {
    std::vector<float> out = blank();
    for (int64_t r = 0; r < m; ++r)
      for (int64_t c = 0; c < n; ++c) out[at(r * ldc + c)] = expected(r, c);
    return out;
  }

  WeightOnlyMatrix matrix() const {
    return {{.n = n, .k = k, .bits = bits, .group_size = group_size},
            packed.data(),
            scales.data(),
            affine ? zero_points.data() : nullptr};
  }
  WeightOnlyEpilogue epilogue() const { return {.bias = has_bias ? bias.data() : nullptr, .relu = relu}; }
};

// All NaN are alike.
bool same_bits(std::vector<float> a, std::vector<float> b) {
  for (std::vector<float>* v : {&a, &b})
    for (float& f : *v)
      if (std::isnan(f)) f = kNaN;
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

class WeightOnlyGemm : public testing::Test {
 protected:
  ~WeightOnlyGemm() override {
    set_isa(isa_);
    set_num_threads(threads_);
  }

  // Every instruction set and thread count gives exactly the answer and touches nothing else.
  void expect_exact(const WeightOnlyProblem& p) {
    const WeightOnlyMatrix w = p.matrix();
    const std::vector<float> expected = p.expected();
    for (Isa isa : available_isas())
      for (int threads : {1, 2}) {
        set_isa(isa);
        set_num_threads(threads);
        SCOPED_TRACE(str(name(isa), ", ", threads, " threads, m ", p.m, ", n ", p.n, ", k ", p.k, ", groups of ",
                         p.group_size, ", ", p.bits, " bits", p.affine ? ", affine" : ""));
        std::vector<float> got = p.blank();
        weight_only_gemm(p.x.data(), p.lda, p.m, w, p.epilogue(), got.data(), p.ldc);
        ASSERT_TRUE(same_bits(got, expected));
      }
  }

  int any_bits() { return static_cast<int>(2 + rng_() % 7); }

  Isa isa_ = active_isa();
  int threads_ = num_threads();
  std::mt19937 rng_{7};
};

TEST_F(WeightOnlyGemm, IsExactForSmallRandomSizes) {
  for (int i = 0; i < 300 && !HasFatalFailure(); ++i)
    expect_exact(
        WeightOnlyProblem(1 + rng_() % 20, 1 + rng_() % 150, 1 + rng_() % 5, 1 + rng_() % 70, any_bits(), rng_));
}

TEST_F(WeightOnlyGemm, IsExactForEveryNumberOfBitsAndGroupSize) {
  for (int bits = 2; bits <= 8; ++bits)
    for (int64_t group_size : {1, 3, 4, 32, 64, 100, 128, 255, 256, 257, 400, 515, 1023, 1025, 1300})
      ASSERT_NO_FATAL_FAILURE(
          expect_exact(WeightOnlyProblem(1 + rng_() % 4, 70, 1 + rng_() % 3, group_size, bits, rng_)));
}

TEST_F(WeightOnlyGemm, IsExactWhereTheLastGroupIsSmaller) {
  for (int bits = 2; bits <= 8; ++bits)
    for (int64_t group_size : {2, 5, 32, 64, 100, 128, 257, 515, 1025, 1300})
      for (int64_t missing : {int64_t{1}, group_size / 2, group_size - 1}) {
        const auto groups = static_cast<int64_t>(1 + rng_() % 3);  // one: smaller than the layer's size of groups
        ASSERT_NO_FATAL_FAILURE(
            expect_exact(WeightOnlyProblem(1 + rng_() % 40, 70, groups, group_size, bits, rng_, missing)));
      }
}

TEST_F(WeightOnlyGemm, IsExactForEveryNumberOfRows) {
  for (int64_t m = 0; m <= 70; ++m)
    ASSERT_NO_FATAL_FAILURE(expect_exact(WeightOnlyProblem(m, 1 + rng_() % 150, 2, 36, any_bits(), rng_)));
}

TEST_F(WeightOnlyGemm, IsExactForLargeSizes) {
  for (const auto [m, n, k] : {std::array<int64_t, 3>{1, 1030, 1024},
                               {64, 256, 400},
                               {130, 70, 1025},
                               {3000, 16, 27},
                               {1, 10, 1024},
                               {2, 1040, 512},
                               {700, 20, 1100}})
    for (int bits : {2, 4, 8}) ASSERT_NO_FATAL_FAILURE(expect_exact(WeightOnlyProblem(m, n, 1, k, bits, rng_)));
}

TEST_F(WeightOnlyGemm, TheLargestSumsFitInt32) {
  for (int bits = 2; bits <= 8; ++bits)
    for (const float sign : {1.0f, -1.0f})
      for (const bool largest : {false, true}) {
        WeightOnlyProblem p(2 + rng_() % 3, 40, 2, 2048, bits, rng_);
        std::fill(p.x.begin(), p.x.end(), sign * 3.0f);
        p.affine = true;
        std::fill(p.w.begin(), p.w.end(), static_cast<uint8_t>(largest ? (1 << bits) - 1 : 0));
        std::fill(p.zero_points.begin(), p.zero_points.end(), static_cast<uint8_t>(largest ? 0 : (1 << bits) - 1));
        p.pack();
        ASSERT_NO_FATAL_FAILURE(expect_exact(p));
      }
}

TEST_F(WeightOnlyGemm, IsExactForActivationsOfAnySize) {
  for (const float size : {0.0f, 1e-45f, 1e-40f, 1e-36f, 1e-30f, 1e30f, 3e38f}) {
    WeightOnlyProblem p(3, 40, 3, 50, any_bits(), rng_);
    for (float& v : p.x) v = std::clamp(v, -1.1f, 1.1f) * size;
    ASSERT_NO_FATAL_FAILURE(expect_exact(p));
  }
}

TEST_F(WeightOnlyGemm, NaNAndInfinityMakeTheRowNaN) {
  for (const float bad : {kNaN, -kNaN, kInf, -kInf})
    for (const int64_t column : {0, 17, 149}) {
      WeightOnlyProblem p(4, 40, 3, 50, any_bits(), rng_);
      p.x[at(2 * p.lda + column)] = bad;
      ASSERT_NO_FATAL_FAILURE(expect_exact(p));
      EXPECT_TRUE(std::isnan(p.expected(2, 39)));
      EXPECT_FALSE(std::isnan(p.expected(1, 39)));
    }
}

TEST_F(WeightOnlyGemm, RowsComputedSeparatelyGiveTheSameBits) {
  for (int bits : {2, 4, 8}) {
    const WeightOnlyProblem p(37, 150, 3, 70, bits, rng_);
    const WeightOnlyMatrix w = p.matrix();
    for (Isa isa : available_isas()) {
      set_isa(isa);
      std::vector<float> whole = p.blank(), parts = p.blank();
      weight_only_gemm(p.x.data(), p.lda, p.m, w, p.epilogue(), whole.data(), p.ldc);
      for (int64_t row = 0, rows = 1; row < p.m; row += rows, ++rows)
        weight_only_gemm(p.x.data() + row * p.lda, p.lda, std::min(rows, p.m - row), w, p.epilogue(),
                         parts.data() + row * p.ldc, p.ldc);
      EXPECT_TRUE(same_bits(whole, parts)) << name(isa);
    }
  }
}

// The error of the activations: half a step each, and a little for the rounding of the step. Steps are no finer than
// 2^-126, which tiny activations come to feel; large scales make something of them.
TEST_F(WeightOnlyGemm, IsWithinTheErrorOfSixteenBitActivations) {
  for (int i = 0; i < 60; ++i) {
    const auto group_size = static_cast<int64_t>(1 + rng_() % 300);
    WeightOnlyProblem p(2, 20, 1 + rng_() % 4, group_size, any_bits(), rng_, static_cast<int64_t>(rng_() % group_size));
    p.relu = false;
    const int exponent = std::array{0, 112, 118, 125}[at(i % 4)];
    for (float& v : p.x) v = std::ldexp(v, -exponent);
    for (float& v : p.scales) v = std::ldexp(v, exponent);
    std::vector<float> out = p.blank();
    weight_only_gemm(p.x.data(), p.lda, p.m, p.matrix(), p.epilogue(), out.data(), p.ldc);
    for (int64_t r = 0; r < p.m; ++r)
      for (int64_t c = 0; c < p.n; ++c) {
        double y = p.has_bias ? p.bias[at(c)] : 0, allowed = 1e-6;
        for (int64_t g = 0; g < p.groups; ++g) {
          const float* group = &p.x[at(r * p.lda + g * p.group_size)];
          const int64_t size = p.end(g) - g * p.group_size;
          double largest = 0;
          for (int64_t j = 0; j < size; ++j) largest = std::max<double>(largest, std::abs(group[j]));
          for (int64_t j = 0; j < size; ++j) {
            const double w = (p.w[at(c * p.k + g * p.group_size + j)] - p.zero_point(c, g)) * double{p.scale(c, g)};
            y += w * group[j];
            allowed += std::abs(w) * (std::max(largest / 64000, std::ldexp(1.0, -127)) + std::abs(group[j]) * 1e-6);
          }
        }
        EXPECT_LE(std::abs(out[at(r * p.ldc + c)] - y), allowed);
      }
  }
}

TEST(WeightOnlyMatrix, TakesNoMoreMemoryThanItsBits) {
  std::mt19937 rng(3);
  for (const auto& [bits, per_byte] : {std::pair(2, 4), {3, 2}, {4, 2}, {5, 1}, {8, 1}}) {
    WeightOnlyProblem p(1, 128, 1, 512, bits, rng);
    p.affine = false;
    EXPECT_EQ(p.matrix().nbytes(), 128 * 512 / per_byte + 128 * 4) << bits << " bits";
  }
}

TEST(WeightOnlyMatrix, RejectsWhatDoesNotFit) {
  const uint8_t weights[16] = {};
  const float scales[16] = {};
  const auto make = [&](WeightOnlyMatrix::Layout layout) { WeightOnlyMatrix(layout, weights, scales, nullptr); };
  make({.n = 2, .k = 4, .bits = 4, .group_size = 2});
  EXPECT_THROW(make({.n = 2, .k = 4, .bits = 1, .group_size = 2}), ValueError);
  EXPECT_THROW(make({.n = 2, .k = 4, .bits = 9, .group_size = 2}), ValueError);
  make({.n = 2, .k = 4, .bits = 4, .group_size = 3});
  make({.n = 2, .k = 4, .bits = 4, .group_size = std::numeric_limits<int64_t>::max()});
  EXPECT_THROW(make({.n = 2, .k = 4, .bits = 4, .group_size = -1}), ValueError);
  EXPECT_THROW(make({.n = 2, .k = 4, .bits = 4, .group_size = 0}), ValueError);
  EXPECT_THROW(make({.n = 0, .k = 4, .bits = 4, .group_size = 2}), ValueError);
  EXPECT_THROW(make({.n = 2, .k = int64_t{1} << 40, .bits = 4, .group_size = 2}), ValueError);
}

}  // namespace
}  // namespace thimble::kernels
