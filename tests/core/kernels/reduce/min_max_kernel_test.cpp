#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "tests/core/special_values.h"
#include <thimble/core/error.h>
#include <thimble/core/kernels/reduce/min_max.h>
#include <thimble/core/parallel.h>
#include <thimble/core/platform/isa.h>

namespace thimble::kernels {
namespace {

class MinMaxKernel : public testing::Test {
 protected:
  ~MinMaxKernel() override {
    set_isa(isa_);
    set_num_threads(threads_);
  }

  template <typename F>
  void on_every_isa(F body) {
    for (const Isa isa : available_isas())
      for (const int threads : {1, 2, 3}) {
        set_isa(isa);
        set_num_threads(threads);
        SCOPED_TRACE(str(name(isa), ", ", threads, " threads"));
        body();
      }
  }

  std::vector<float> values(const MinMaxShape& s) {
    std::normal_distribution<float> normal(static_cast<float>(rng_() % 5) - 2, 1);
    std::vector<float> x(static_cast<size_t>(s.outer * s.channels * s.inner));
    for (float& v : x) v = normal(rng_);
    return x;
  }

  std::mt19937 rng_{5};

 private:
  Isa isa_ = active_isa();
  int threads_ = num_threads();
};

std::vector<MinMaxShape> shapes() {
  return {{1, 1, 1},     {1, 1, 63},    {1, 1, 64},  {1, 1, 65},    {1, 1, 257},    {1, 1, 300001},
          {7, 1, 50001}, {5, 3, 1},     {1, 200, 1}, {33, 67, 1},   {2000, 131, 1}, {3, 5, 7},
          {1, 5, 130},   {2, 3, 40000}, {40, 9, 13}, {1, 100, 3000}};
}

TEST_F(MinMaxKernel, FindsTheExtremesOfEachChannel) {
  for (const MinMaxShape& s : shapes()) {
    SCOPED_TRACE(str(s.outer, ' ', s.channels, ' ', s.inner));
    const std::vector<float> x = values(s);
    std::vector<float> low(static_cast<size_t>(s.channels), kInf), high(low.size(), -kInf);
    for (size_t i = 0; i < x.size(); ++i) {
      const size_t c = i / static_cast<size_t>(s.inner) % low.size();
      low[c] = std::min(low[c], x[i]);
      high[c] = std::max(high[c], x[i]);
    }
    on_every_isa([&] {
      std::vector<float> min(low.size()), max(low.size());
      EXPECT_TRUE(min_max(x.data(), s, min.data(), max.data()));
      EXPECT_EQ(min, low);
      EXPECT_EQ(max, high);
    });
  }
}

TEST_F(MinMaxKernel, NoticesAnyValueThatIsNotFinite) {
  for (const MinMaxShape& s : shapes()) {
    SCOPED_TRACE(str(s.outer, ' ', s.channels, ' ', s.inner));
    std::vector<float> x = values(s);
    for (int trial = 0; trial < 12; ++trial) {
      const size_t at = trial == 0 ? 0 : trial == 1 ? x.size() - 1 : rng_() % x.size();
      const float before = x[at];
      for (const float bad : {kNaN, -kNaN, kInf, -kInf}) {
        x[at] = bad;
        on_every_isa([&] {
          std::vector<float> min(static_cast<size_t>(s.channels)), max(min.size());
          EXPECT_FALSE(min_max(x.data(), s, min.data(), max.data())) << bad << " at " << at;
        });
      }
      x[at] = before;
    }
  }
}

TEST_F(MinMaxKernel, ZerosArePositive) {
  for (const size_t n : {size_t{1}, size_t{100}, size_t{200000}}) {
    std::vector<float> x(n);
    for (float& v : x) v = rng_() % 2 ? 0.0f : -0.0f;
    x[0] = -0.0f;
    on_every_isa([&] {
      float min = 1, max = 1;
      EXPECT_TRUE(min_max(x.data(), {1, 1, static_cast<int64_t>(n)}, &min, &max));
      EXPECT_FALSE(std::signbit(min));
      EXPECT_FALSE(std::signbit(max));
    });
  }
}

TEST_F(MinMaxKernel, TakesTheLargestFloats) {
  constexpr float kMax = std::numeric_limits<float>::max();
  const std::vector<float> x{kMax, -kMax, 0};
  float min = 0, max = 0;
  EXPECT_TRUE(min_max(x.data(), {1, 1, 3}, &min, &max));
  EXPECT_EQ(min, -kMax);
  EXPECT_EQ(max, kMax);
}

}  // namespace
}  // namespace thimble::kernels
