#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include <thimble/core/kernels/image/winograd.h>
#include <thimble/core/ndarray.h>
#include <thimble/core/ops/conv_geometry.h>
#include <thimble/core/parallel.h>
#include <thimble/core/platform/isa.h>
#include <thimble/core/random.h>

namespace thimble::kernels {
namespace {

class WinogradKernels : public testing::Test {
 protected:
  ~WinogradKernels() override {
    set_isa(isa_);
    set_num_threads(threads_);
  }

 private:
  Isa isa_ = active_isa();
  int threads_ = num_threads();
};

// Images lie channels-last, weights [out, in, 3, 3].
struct WinogradProblem {
  WinogradProblem(const Shape& x_shape, int64_t out_channels, const Padding& padding, uint64_t seed)
      : g(conv2d_geometry("conv2d", x_shape, {out_channels, x_shape[1], 3, 3}, {.padding = padding})) {
    Generator rng(seed);
    x = randn({g.batch, g.in_height, g.in_width, g.in_channels}, rng);
    weight = randn({out_channels, g.in_channels, 3, 3}, rng);
    bias = randn({out_channels}, rng);
    addend = randn({g.batch, g.out_height, g.out_width, out_channels}, rng);
    packed = NDArray({winograd_weight_elements(g)});
    pack_winograd_weight(g, weight.data<float>(), nullptr, packed.data<float>());
  }

  std::vector<float> run(const Epilogue<float>& epilogue) const {
    NDArray y({g.batch, g.out_height, g.out_width, g.out_channels});
    winograd_conv2d(g, x.data<float>(), packed.data<float>(), y.data<float>(), epilogue);
    return y.to_vector<float>();
  }

  std::vector<double> expected(const Epilogue<float>& e) const {
    std::vector<double> y;
    for (int64_t n = 0; n < g.batch; ++n)
      for (int64_t i = 0; i < g.out_height; ++i)
        for (int64_t j = 0; j < g.out_width; ++j)
          for (int64_t c = 0; c < g.out_channels; ++c) {
            double sum = (e.bias ? double{e.bias[c]} : 0.0) + (e.addend ? double{e.addend[y.size()]} : 0.0);
            for (int64_t tap = 0; tap < 9; ++tap) {
              const int64_t row = i + tap / 3 - g.pad_top, column = j + tap % 3 - g.pad_left;
              if (row < 0 || row >= g.in_height || column < 0 || column >= g.in_width) continue;
              const float* pixel = x.data<float>() + ((n * g.in_height + row) * g.in_width + column) * g.in_channels;
              for (int64_t k = 0; k < g.in_channels; ++k)
                sum += double{pixel[k]} * double{weight.data<float>()[(c * g.in_channels + k) * 9 + tap]};
            }
            y.push_back(std::min<double>(e.upper, std::max<double>(e.lower, sum)));
          }
    return y;
  }

  Conv2dGeometry g;
  NDArray x, weight, bias, addend, packed;
};

TEST_F(WinogradKernels, GiveWhatAPlainSumGives) {
  const std::vector<WinogradProblem> problems{{{1, 32, 12, 12}, 32, 1, 1}, {{2, 33, 5, 6}, 35, 1, 2},
                                              {{3, 3, 7, 3}, 2, 0, 3},     {{1, 70, 13, 9}, 17, {2, 1, 0, 2}, 4},
                                              {{2, 5, 1, 1}, 40, 1, 5},    {{1, 256, 4, 4}, 33, 1, 6}};
  for (const Isa isa : available_isas()) {
    set_isa(isa);
    for (const WinogradProblem& p : problems)
      for (const Epilogue<float>& e :
           {Epilogue<float>{}, Epilogue<float>{.bias = p.bias.data<float>()},
            Epilogue<float>{.bias = p.bias.data<float>(), .addend = p.addend.data<float>(), .lower = 0, .upper = 6}}) {
        SCOPED_TRACE(str(name(isa), ", ", p.g.in_channels, " to ", p.g.out_channels, " channels"));
        const std::vector<float> got = p.run(e);
        const std::vector<double> expected = p.expected(e);
        // Of terms of about 1.
        const double tolerance = 6e-6 * std::sqrt(9.0 * static_cast<double>(p.g.in_channels));
        for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], expected[i], tolerance) << "element " << i;
      }
  }
}

TEST_F(WinogradKernels, BitsDependNeitherOnThreadsNorOnTheBatch) {
  const WinogradProblem batch({5, 40, 9, 14}, 48, 1, 7);
  const Epilogue<float> bias{.bias = batch.bias.data<float>()};
  for (const Isa isa : available_isas()) {
    set_isa(isa);
    set_num_threads(1);
    const std::vector<float> expected = batch.run(bias);
    for (const int threads : {2, 3, 5}) {
      set_num_threads(threads);
      EXPECT_EQ(batch.run(bias), expected) << name(isa) << ", threads " << threads;
    }
    WinogradProblem one = batch;
    one.g.batch = 1;
    std::vector<float> one_by_one;
    for (int64_t i = 0; i < 5; ++i) {
      one.x = batch.x.slice(0, i, i + 1);
      for (const float v : one.run(bias)) one_by_one.push_back(v);
    }
    EXPECT_EQ(one_by_one, expected) << name(isa);
  }
}

TEST_F(WinogradKernels, NaNStays) {
  WinogradProblem p({1, 32, 12, 12}, 32, 1, 8);
  p.x.data<float>()[(5 * 12 + 5) * 32 + 3] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> y = p.run({.lower = 0});
  for (size_t row = 4; row <= 6; ++row)
    for (size_t column = 4; column <= 6; ++column) EXPECT_TRUE(std::isnan(y[(row * 12 + column) * 32]));
  EXPECT_FALSE(std::isnan(y[0]));
  EXPECT_FALSE(std::isnan(y[(9 * 12 + 9) * 32]));
}

TEST(Winograd, IsForConvolutionsOfManyChannelsAndPixels) {
  const auto fits = [](const Shape& x, const Shape& weight, const Conv2dOptions& options) {
    return is_for_winograd(conv2d_geometry("conv2d", x, weight, options));
  };
  EXPECT_TRUE(fits({1, 64, 56, 56}, {64, 64, 3, 3}, {.padding = 1}));
  EXPECT_EQ(fits({1, 64, 28, 28}, {64, 64, 3, 3}, {}), fits({9, 64, 28, 28}, {64, 64, 3, 3}, {}));
  EXPECT_TRUE(fits({1, 64, 7, 7}, {64, 64, 3, 3}, {.padding = 1}));
  EXPECT_FALSE(fits({1, 512, 7, 7}, {512, 512, 3, 3}, {.padding = 1}));
  EXPECT_FALSE(fits({1, 64, 5, 5}, {64, 64, 3, 3}, {.padding = 1}));
  EXPECT_FALSE(fits({1, 8, 56, 56}, {64, 8, 3, 3}, {.padding = 1}));
  EXPECT_FALSE(fits({1, 64, 56, 56}, {64, 64, 1, 1}, {}));
  EXPECT_FALSE(fits({1, 64, 56, 56}, {64, 64, 5, 5}, {.padding = 2}));
  EXPECT_FALSE(fits({1, 64, 56, 56}, {64, 64, 3, 3}, {.stride = 2, .padding = 1}));
  EXPECT_FALSE(fits({1, 64, 56, 56}, {64, 64, 3, 3}, {.padding = 2, .dilation = 2}));
  EXPECT_FALSE(fits({1, 64, 56, 56}, {64, 1, 3, 3}, {.padding = 1, .groups = 64}));
}

}  // namespace
}  // namespace thimble::kernels
