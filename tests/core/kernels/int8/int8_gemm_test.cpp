#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <new>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "tests/core/kernels/at.h"
#include <thimble/core/error.h>
#include <thimble/core/kernels/int8/int8_gemm.h>
#include <thimble/core/parallel.h>
#include <thimble/core/platform/isa.h>

namespace thimble::kernels {
namespace {

// Vectors that start on a cache line, as tensors do.
template <typename T>
struct CacheLineAllocator {
  using value_type = T;
  T* allocate(size_t n) { return static_cast<T*>(::operator new (n * sizeof(T), std::align_val_t{64})); }
  void deallocate(T* p, size_t) { ::operator delete (p, std::align_val_t{64}); }
  bool operator==(const CacheLineAllocator&) const = default;
};

enum class Values { random, extreme };

// A random product, with its answer from the definition. Outputs and inputs are strided, with guard values between
// rows.
struct Int8Problem {
  int64_t m, n, k, lda, ldc, offset;
  std::vector<uint8_t, CacheLineAllocator<uint8_t>> storage;
  std::vector<int8_t> w;
  std::vector<int32_t> bias;
  std::vector<float> multiplier;
  int32_t input_zero_point, zero_point, low, high;
  bool relu;

  Int8Problem(int64_t m_, int64_t n_, int64_t k_, std::mt19937& rng, Values values = Values::random)
      : m(m_), n(n_), k(k_), lda(k + rng() % 3 * (k % 64 == 0 ? 64 : 1)), ldc(n + rng() % 3), offset(rng() % 2) {
    // Exactly as many bytes as the last row needs, so that a sanitizer sees any read past them.
    storage.resize(at(offset + (m == 0 ? 0 : (m - 1) * lda + k)));
    w.resize(at(n * k));
    bias.resize(at(n));
    multiplier.resize(at(n));
    const int8_t extremes[] = {-128, -127, 127};
    const int8_t extreme = extremes[rng() % 3];
    for (auto& v : storage) v = values == Values::extreme ? 255 : static_cast<uint8_t>(rng());
    for (auto& v : w) v = values == Values::extreme ? extreme : static_cast<int8_t>(rng());
    for (auto& v : bias) v = static_cast<int32_t>(rng() % 20001) - 10000;
    // Of a size that sends results to both ends of the range and between.
    const double typical = values == Values::extreme ? 255.0 * 127 * static_cast<double>(k + 1)
                                                     : 255.0 * 74 * std::sqrt(static_cast<double>(k + 1));
    for (auto& v : multiplier) v = static_cast<float>((rng() % 1000 + 1) * 0.3 / typical);
    input_zero_point = static_cast<int32_t>(rng() % 256);
    zero_point = static_cast<int32_t>(rng() % 256);
    low = rng() % 2 ? zero_point : 0;
    high = rng() % 2 ? 255 : std::max<int32_t>(low, 200);
    relu = rng() % 2;
  }

  const uint8_t* a() const { return storage.data() + offset; }

  float scaled(int64_t row, int64_t channel) const {
    int64_t sum = bias[at(channel)];
    for (int64_t i = 0; i < k; ++i) sum += (int64_t{a()[row * lda + i]} - input_zero_point) * w[at(channel * k + i)];
    return static_cast<float>(static_cast<int32_t>(sum)) * multiplier[at(channel)];
  }
  void expected(int64_t row, int64_t channel, uint8_t& out) const {
    const float clamped =
        std::clamp(scaled(row, channel), static_cast<float>(low - zero_point), static_cast<float>(high - zero_point));
    out = static_cast<uint8_t>(std::lrintf(clamped) + zero_point);
  }
  void expected(int64_t row, int64_t channel, float& out) const {
    const float v = scaled(row, channel);
    out = relu && !(v > 0) ? 0.0f : v;
  }

  template <typename Out>
  std::vector<Out> blank() const {
    return std::vector<Out>(at(m * ldc + 1), Out{77});
  }
  template <typename Out>
  std::vector<Out> expected() const {
    std::vector<Out> out = blank<Out>();
    for (int64_t r = 0; r < m; ++r) {
      for (int64_t c = 0; c < n; ++c) expected(r, c, out[at(r * ldc + c)]);
    }
    return out;
  }
};

template <typename Out>
bool same_bits(const std::vector<Out>& a, const std::vector<Out>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(Out)) == 0;
}

class Int8Gemm : public testing::Test {
 protected:
  ~Int8Gemm() override {
    set_isa(isa_);
    set_num_threads(threads_);
  }

  // Every instruction set and thread count gives exactly the answer and touches nothing else.
  void expect_exact(const Int8Problem& p) {
    const PackedInt8Weights w(p.w.data(), p.n, p.k);
    const std::vector<int32_t> bias = fold_zero_point(w.channel_sums(), p.bias, p.input_zero_point);
    const Int8Epilogue epilogue{bias.data(), p.multiplier.data(), p.zero_point, p.low, p.high, p.relu};
    const std::vector<uint8_t> bytes = p.expected<uint8_t>();
    const std::vector<float> floats = p.expected<float>();
    for (Isa isa : available_isas()) {
      for (int threads : {1, 2}) {
        set_isa(isa);
        set_num_threads(threads);
        SCOPED_TRACE(str(name(isa), ", ", threads, " threads, m ", p.m, ", n ", p.n, ", k ", p.k, ", lda ", p.lda));
        std::vector<uint8_t> got_bytes = p.blank<uint8_t>();
        int8_gemm(p.a(), p.lda, p.m, w, epilogue, got_bytes.data(), p.ldc);
        ASSERT_TRUE(same_bits(got_bytes, bytes));
        std::vector<float> got_floats = p.blank<float>();
        int8_gemm(p.a(), p.lda, p.m, w, epilogue, got_floats.data(), p.ldc);
        ASSERT_TRUE(same_bits(got_floats, floats));
      }
    }
  }

  Isa isa_ = active_isa();
  int threads_ = num_threads();
  std::mt19937 rng_{7};
};

TEST_F(Int8Gemm, IsExactForSmallRandomSizes) {
  for (int i = 0; i < 300 && !HasFatalFailure(); ++i)
    expect_exact(Int8Problem(1 + rng_() % 40, 1 + rng_() % 70, 1 + rng_() % 150, rng_));
}

TEST_F(Int8Gemm, IsExactForEveryLengthOfSum) {
  for (int64_t k = 0; k <= 140 && !HasFatalFailure(); ++k) expect_exact(Int8Problem(1 + rng_() % 35, 17, k, rng_));
}

TEST_F(Int8Gemm, IsExactForEveryNumberOfRows) {
  for (int64_t m = 0; m <= 70 && !HasFatalFailure(); ++m) expect_exact(Int8Problem(m, 1 + rng_() % 80, 67, rng_));
}

TEST_F(Int8Gemm, IsExactForLargeSizes) {
  for (const auto [m, n, k] : {std::array<int64_t, 3>{64, 256, 400},
                               {1, 1030, 517},
                               {130, 70, 1025},
                               {3000, 16, 27},
                               {1, 10, 1024},
                               {2, 33, 4099},
                               {700, 20, 1100},
                               {33, 1040, 64},
                               {35, 1050, 1100}})
    ASSERT_NO_FATAL_FAILURE(expect_exact(Int8Problem(m, n, k, rng_)));
}

TEST_F(Int8Gemm, IsExactForRowsOfWholeCacheLines) {
  for (int64_t k : {64, 128, 192, 320}) {
    for (int64_t m = 1; m <= 65; m += 8) {
      for (int64_t n : {16, 48, 61}) ASSERT_NO_FATAL_FAILURE(expect_exact(Int8Problem(m, n, k, rng_)));
    }
  }
}

TEST_F(Int8Gemm, DoesNotSaturateOrOverflowOnExtremeValues) {
  for (int64_t k : {1, 2, 3, 4, 5, 63, 64, 65, 1000}) {
    for (int64_t m : {1, 5, 18, 33})
      ASSERT_NO_FATAL_FAILURE(expect_exact(Int8Problem(m, 18, k, rng_, Values::extreme)));
  }
  for (int64_t m : {1, 3}) expect_exact(Int8Problem(m, 2, PackedInt8Weights::kMaxK, rng_, Values::extreme));
}

TEST_F(Int8Gemm, RowsComputedSeparatelyGiveTheSameBits) {
  const Int8Problem p(37, 50, 203, rng_);
  const PackedInt8Weights w(p.w.data(), p.n, p.k);
  const Int8Epilogue epilogue{p.bias.data(), p.multiplier.data(), p.zero_point, p.low, p.high, p.relu};
  for (Isa isa : available_isas()) {
    set_isa(isa);
    std::vector<uint8_t> whole = p.blank<uint8_t>(), parts = p.blank<uint8_t>();
    int8_gemm(p.a(), p.lda, p.m, w, epilogue, whole.data(), p.ldc);
    for (int64_t row = 0, rows = 1; row < p.m; row += rows, ++rows) {
      const int64_t count = std::min(rows, p.m - row);
      int8_gemm(p.a() + row * p.lda, p.lda, count, w, epilogue, parts.data() + row * p.ldc, p.ldc);
    }
    EXPECT_TRUE(same_bits(whole, parts)) << name(isa);
  }
}

TEST_F(Int8Gemm, RoundsHalfToEven) {
  const int8_t weights[] = {1};
  const PackedInt8Weights w(weights, 1, 1);
  const int32_t bias = 0;
  const float half = 0.5f;
  const std::vector<uint8_t> a{0, 1, 2, 3, 4, 5, 6, 7, 255};
  for (Isa isa : available_isas()) {
    set_isa(isa);
    std::vector<uint8_t> out(a.size());
    int8_gemm(a.data(), 1, static_cast<int64_t>(a.size()), w, {.bias = &bias, .multiplier = &half}, out.data(), 1);
    EXPECT_EQ(out, (std::vector<uint8_t>{0, 0, 1, 2, 2, 2, 3, 4, 128})) << name(isa);
  }
}

// A problem's rows with parameters of their own, in groups of at most `group_size` inputs, from the definition.
struct RowProblem {
  const Int8Problem& p;
  int64_t group_size, groups;
  std::vector<int32_t> zero_point, sums;
  std::vector<float> scale, step, bias;
  std::vector<PackedInt8Weights> packed;

  RowProblem(const Int8Problem& problem, int64_t group, std::mt19937& rng)
      : p(problem), group_size(group), groups((p.k - 1) / group + 1), bias(at(p.n)) {
    for (int64_t row = 0; row < p.m; ++row) {
      zero_point.push_back(static_cast<int32_t>(rng() % 256));
      scale.push_back(static_cast<float>(rng() % 1000 + 1) * 1e-3f);
    }
    for (float& b : bias) b = static_cast<float>(rng() % 2001) - 1000;
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t size = end(g) - g * group_size;
      std::vector<int8_t> w;
      for (int64_t c = 0; c < p.n; ++c)
        w.insert(w.end(), p.w.begin() + c * p.k + g * group_size, p.w.begin() + c * p.k + end(g));
      packed.emplace_back(w.data(), p.n, size);
      sums.insert(sums.end(), packed.back().channel_sums().begin(), packed.back().channel_sums().end());
      step.insert(step.end(), p.multiplier.begin(), p.multiplier.end());
    }
  }

  int64_t end(int64_t g) const { return std::min(p.k, (g + 1) * group_size); }

  std::vector<float> expected() const {
    std::vector<float> out = p.blank<float>();
    for (int64_t r = 0; r < p.m; ++r)
      for (int64_t c = 0; c < p.n; ++c) {
        float v = 0;
        for (int64_t g = 0; g < groups; ++g) {
          int64_t sum = 0;
          for (int64_t i = g * group_size; i < end(g); ++i)
            sum += (int64_t{p.a()[r * p.lda + i]} - zero_point[at(r)]) * p.w[at(c * p.k + i)];
          const float scaled = static_cast<float>(static_cast<int32_t>(sum)) * (scale[at(r)] * step[at(g * p.n + c)]);
          v = g == 0 ? scaled + bias[at(c)] : v + scaled;
        }
        out[at(r * p.ldc + c)] = p.relu && !(v > 0) ? 0.0f : v;
      }
    return out;
  }

  Int8RowEpilogue epilogue() const {
    return {sums.data(), step.data(), bias.data(), zero_point.data(), scale.data(), p.relu};
  }
};

TEST_F(Int8Gemm, RowsWithParametersOfTheirOwnAreExactInGroupsToo) {
  for (int i = 0; i < 150; ++i) {
    const Int8Problem p(1 + rng_() % 70, 1 + rng_() % 150, 1 + rng_() % 150, rng_);
    const int64_t group_size = i % 2 ? p.k : 1 + static_cast<int64_t>(rng_() % 60);
    const RowProblem rows(p, group_size, rng_);
    const std::vector<float> expected = rows.expected();
    for (Isa isa : available_isas())
      for (int threads : {1, 2}) {
        set_isa(isa);
        set_num_threads(threads);
        SCOPED_TRACE(str(name(isa), ", ", threads, " threads, m ", p.m, ", n ", p.n, ", k ", p.k, " by ", group_size));
        std::vector<float> got = p.blank<float>();
        if (rows.groups == 1)
          int8_gemm(p.a(), p.lda, p.m, rows.packed[0], rows.epilogue(), got.data(), p.ldc);
        else
          int8_group_gemm(p.a(), p.lda, p.m, rows.packed, rows.epilogue(), got.data(), p.ldc);
        ASSERT_TRUE(same_bits(got, expected));
      }
  }
}

TEST(PackedInt8Weights, SumsChannelsAndFoldsZeroPoints) {
  const int8_t weights[] = {1, 2, 3, -128, -128, 127};
  const PackedInt8Weights w(weights, 2, 3);
  EXPECT_EQ(std::vector<int32_t>(w.channel_sums().begin(), w.channel_sums().end()), (std::vector<int32_t>{6, -129}));
  EXPECT_EQ(fold_zero_point(w.channel_sums(), {}, 10), (std::vector<int32_t>{-60, 1290}));
  const int32_t bias[] = {100, -100};
  EXPECT_EQ(fold_zero_point(w.channel_sums(), bias, 10), (std::vector<int32_t>{40, 1190}));
}

TEST(PackedInt8Weights, RejectsWhatDoesNotFit) {
  const int8_t weights[] = {1, 1};
  EXPECT_THROW(PackedInt8Weights(weights, 1, PackedInt8Weights::kMaxK + 1), ValueError);
  EXPECT_THROW(PackedInt8Weights(weights, -1, 2), ValueError);
  const PackedInt8Weights w(weights, 1, 2);
  const int32_t bias[] = {std::numeric_limits<int32_t>::min(), 0};
  EXPECT_THROW(fold_zero_point(w.channel_sums(), std::span(bias, 1), 1), ValueError);
  EXPECT_THROW(fold_zero_point(w.channel_sums(), bias, 1), ShapeError);
}

}  // namespace
}  // namespace thimble::kernels
