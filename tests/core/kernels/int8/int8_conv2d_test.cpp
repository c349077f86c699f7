#include <cmath>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "tests/core/kernels/at.h"
#include <thimble/core/error.h>
#include <thimble/core/kernels/int8/int8_conv2d.h>
#include <thimble/core/parallel.h>
#include <thimble/core/platform/isa.h>

namespace thimble::kernels {
namespace {

std::string describe(const Conv2dGeometry& g) {
  return str("batch ", g.batch, " image ", g.in_height, 'x', g.in_width, 'x', g.in_channels, " -> ", g.out_height, 'x',
             g.out_width, 'x', g.out_channels, " kernel ", g.kernel_height, 'x', g.kernel_width, " stride ",
             g.stride_height, 'x', g.stride_width, " dilation ", g.dilation_height, 'x', g.dilation_width, " pad ",
             g.pad_top, ',', g.pad_left, " groups ", g.groups);
}

// A random convolution with its answer from the definition.
struct Int8ConvProblem {
  Conv2dGeometry g;
  std::vector<uint8_t> x;  // exactly as long as the images, so that a sanitizer sees any read past them
  std::vector<int8_t> w;
  std::vector<int32_t> bias;
  std::vector<float> multiplier;
  uint8_t input_zero_point;
  int32_t zero_point, low, high;
  bool relu;

  Int8ConvProblem(const Conv2dGeometry& geometry, std::mt19937& rng) : g(geometry) {
    x.resize(at(g.batch * g.in_height * g.in_width * g.in_channels));
    w.resize(at(g.out_channels * g.columns()));
    for (auto& v : x) v = static_cast<uint8_t>(rng());
    for (auto& v : w) v = static_cast<int8_t>(rng());
    input_zero_point = static_cast<uint8_t>(rng());
    zero_point = static_cast<int32_t>(rng() % 256);
    relu = rng() % 2 == 0;
    low = relu ? zero_point : rng() % 2 == 0 ? 0 : static_cast<int32_t>(rng() % 256);
    high = rng() % 2 == 0 ? 255 : low + static_cast<int32_t>(rng() % static_cast<unsigned>(256 - low));
    const double typical = 255.0 * 74 * std::sqrt(static_cast<double>(g.columns()));
    for (int64_t c = 0; c < g.out_channels; ++c) {
      bias.push_back(static_cast<int32_t>(rng() % 20001) - 10000);
      multiplier.push_back(static_cast<float>((rng() % 1000 + 1) * 0.3 / typical));
    }
  }

  // The sum of output (n, y, x, c), its bias included.
  int32_t sum_at(int64_t n, int64_t oy, int64_t ox, int64_t c) const {
    const int64_t group = c / g.group_out();
    int32_t sum = bias[at(c)];
    for (int64_t i = 0; i < g.group_in(); ++i)
      for (int64_t kh = 0; kh < g.kernel_height; ++kh)
        for (int64_t kw = 0; kw < g.kernel_width; ++kw) {
          const int64_t iy = oy * g.stride_height - g.pad_top + kh * g.dilation_height;
          const int64_t ix = ox * g.stride_width - g.pad_left + kw * g.dilation_width;
          if (iy < 0 || iy >= g.in_height || ix < 0 || ix >= g.in_width) continue;
          const int64_t from = ((n * g.in_height + iy) * g.in_width + ix) * g.in_channels + group * g.group_in() + i;
          const int64_t weight = ((c * g.group_in() + i) * g.kernel_height + kh) * g.kernel_width + kw;
          sum += (x[at(from)] - input_zero_point) * w[at(weight)];
        }
    return sum;
  }

  std::vector<float> expected_floats() const {
    std::vector<float> out;
    for (int64_t n = 0; n < g.batch; ++n)
      for (int64_t oy = 0; oy < g.out_height; ++oy)
        for (int64_t ox = 0; ox < g.out_width; ++ox)
          for (int64_t c = 0; c < g.out_channels; ++c) {
            const float v = static_cast<float>(sum_at(n, oy, ox, c)) * multiplier[at(c)];
            out.push_back(relu && v < 0 ? 0 : v);
          }
    return out;
  }

  std::vector<uint8_t> quantized(const std::vector<float>& floats) const {
    std::vector<uint8_t> out;
    for (float v : floats) {
      const auto q = static_cast<int32_t>(std::nearbyint(std::min(std::max(v, -1e6f), 1e6f))) + zero_point;
      out.push_back(static_cast<uint8_t>(std::min(std::max(q, low), high)));
    }
    return out;
  }

  template <typename Out>
  std::vector<Out> run(const Int8Conv2d& conv, int64_t first, int64_t images) const {
    std::vector<uint8_t> scratch(at(conv.scratch_bytes(images)));
    std::vector<Out> y(at(images * g.out_height * g.out_width * g.out_channels));
    const auto folded = fold_zero_point(conv.channel_sums(), bias, input_zero_point);
    const Int8Epilogue epilogue{folded.data(), multiplier.data(), zero_point, low, high, relu};
    conv.run(x.data() + first * g.in_height * g.in_width * g.in_channels, images, input_zero_point, epilogue, y.data(),
             scratch.data());
    return y;
  }
};

struct Kernel {
  int64_t height, width;
};

Kernel random_kernel(std::mt19937& rng) {
  auto up_to = [&](unsigned n) { return static_cast<int64_t>(rng() % n) + 1; };
  switch (rng() % 8) {
    case 0:
      return {1, up_to(20)};
    case 1:
      return {up_to(20), 1};
    case 2:
      return {7, 7};
    default:
      return {up_to(4), up_to(6)};
  }
}

Conv2dGeometry random_geometry(std::mt19937& rng) {
  auto up_to = [&](unsigned n) { return static_cast<int64_t>(rng() % n) + 1; };
  Conv2dGeometry g{};
  g.groups = rng() % 3 == 0 ? up_to(4) : 1;
  const bool depthwise = g.groups > 1 && rng() % 2 == 0;
  g.batch = up_to(3);
  g.in_channels = g.groups * (depthwise ? 1 : up_to(9));
  g.out_channels = g.groups * (depthwise ? 1 : up_to(40));
  if (depthwise) g.groups = g.in_channels = g.out_channels = up_to(rng() % 2 == 0 ? 40 : 200);
  const Kernel kernel = random_kernel(rng);
  g.kernel_height = kernel.height;
  g.kernel_width = kernel.width;
  g.stride_height = up_to(3);
  g.stride_width = up_to(3);
  g.dilation_height = up_to(2);
  g.dilation_width = up_to(2);
  g.pad_top = up_to(3) - 1;
  g.pad_left = up_to(3) - 1;
  const int64_t bottom = up_to(3) - 1, right = up_to(3) - 1;
  const int64_t reach_h = g.dilation_height * (g.kernel_height - 1) + 1;
  const int64_t reach_w = g.dilation_width * (g.kernel_width - 1) + 1;
  g.in_height = std::max(up_to(9), reach_h - g.pad_top - bottom);
  g.in_width = std::max(up_to(9), reach_w - g.pad_left - right);
  g.out_height = (g.in_height + g.pad_top + bottom - reach_h) / g.stride_height + 1;
  g.out_width = (g.in_width + g.pad_left + right - reach_w) / g.stride_width + 1;
  return g;
}

// Depthwise, of one row or one column, of which kernels have tiles.
Conv2dGeometry random_line(std::mt19937& rng) {
  auto up_to = [&](unsigned n) { return static_cast<int64_t>(rng() % n) + 1; };
  const int64_t channels = up_to(100) + 1, taps = up_to(40), stride = up_to(3), dilation = up_to(3);
  const int64_t reach = dilation * (taps - 1) + 1, padding = up_to(static_cast<unsigned>(reach)) - 1;
  const int64_t size = std::max(up_to(250), reach - padding);
  Conv2dGeometry g{.batch = up_to(2),
                   .in_height = 1,
                   .in_width = size,
                   .in_channels = channels,
                   .out_height = 1,
                   .out_width = (size + padding + up_to(4) - 1 - reach) / stride + 1,
                   .out_channels = channels,
                   .kernel_height = 1,
                   .kernel_width = taps,
                   .stride_height = up_to(2),
                   .stride_width = stride,
                   .dilation_width = dilation,
                   .pad_left = padding,
                   .groups = channels};
  return rng() % 2 == 0 ? g : transposed_geometry(g);
}

Conv2dGeometry square(int64_t batch, int64_t size, int64_t in, int64_t out, int64_t kernel, int64_t stride,
                      int64_t groups = 1) {
  const int64_t pad = kernel / 2, after = (size + 2 * pad - kernel) / stride + 1;
  return Conv2dGeometry{.batch = batch,
                        .in_height = size,
                        .in_width = size,
                        .in_channels = in,
                        .out_height = after,
                        .out_width = after,
                        .out_channels = out,
                        .kernel_height = kernel,
                        .kernel_width = kernel,
                        .stride_height = stride,
                        .stride_width = stride,
                        .pad_top = pad,
                        .pad_left = pad,
                        .groups = groups};
}

class Int8Conv2dTest : public testing::Test {
 protected:
  ~Int8Conv2dTest() override {
    set_isa(isa_);
    set_num_threads(threads_);
  }

  void expect_exact(const Int8ConvProblem& p) {
    SCOPED_TRACE(describe(p.g));
    const auto floats = p.expected_floats();
    const auto bytes = p.quantized(floats);
    for (Isa isa : available_isas()) {
      set_isa(isa);
      const Int8Conv2d conv(p.g, p.w.data());
      ASSERT_EQ(p.run<float>(conv, 0, p.g.batch), floats) << name(isa);
      ASSERT_EQ(p.run<uint8_t>(conv, 0, p.g.batch), bytes) << name(isa);
    }
  }

  std::mt19937 rng{1};

 private:
  Isa isa_ = active_isa();
  int threads_ = num_threads();
};

TEST_F(Int8Conv2dTest, IsExactForRandomSizesOnEveryInstructionSet) {
  for (int i = 0; i < 400; ++i) {
    set_num_threads(i % 3 + 1);
    expect_exact(Int8ConvProblem(random_geometry(rng), rng));
    if (HasFatalFailure()) return;
  }
}

TEST_F(Int8Conv2dTest, ImagesOfOneRowOrColumnAreExactOnEveryInstructionSet) {
  for (int i = 0; i < 100; ++i) {
    set_num_threads(i % 3 + 1);
    expect_exact(Int8ConvProblem(random_line(rng), rng));
    if (HasFatalFailure()) return;
  }
}

TEST_F(Int8Conv2dTest, IsExactForTheSizesOfRealNetworks) {
  for (const Conv2dGeometry& g :
       {square(2, 28, 1, 16, 3, 1), square(3, 14, 16, 32, 3, 1), square(3, 7, 32, 64, 3, 1), square(3, 32, 3, 16, 7, 4),
        square(4, 1, 128, 128, 3, 1), square(5, 2, 64, 128, 3, 2), square(2, 9, 64, 48, 1, 1),
        square(2, 12, 48, 48, 3, 1, 48), square(2, 12, 64, 64, 5, 2, 64), square(2, 14, 112, 112, 3, 2, 112),
        square(2, 7, 80, 80, 5, 1, 80), square(2, 10, 32, 48, 3, 1, 4)})
    for (int threads : {1, 2, 5}) {
      set_num_threads(threads);
      expect_exact(Int8ConvProblem(g, rng));
    }
}

// Large enough that depthwise sums read images where they are.
TEST_F(Int8Conv2dTest, EdgesOfLargeImagesAreExactOnEveryInstructionSet) {
  Conv2dGeometry dilated = square(2, 40, 96, 96, 4, 1, 96);
  dilated.dilation_height = dilated.dilation_width = 2;
  dilated.pad_top = 1;
  dilated.pad_left = 2;
  dilated.out_height = 36;
  dilated.out_width = 37;
  for (const Conv2dGeometry& g : {square(2, 48, 16, 16, 3, 1, 16), square(1, 45, 112, 112, 3, 1, 112),
                                  square(2, 37, 80, 80, 3, 2, 80), square(1, 56, 48, 48, 5, 2, 48), dilated})
    for (int threads : {1, 3}) {
      set_num_threads(threads);
      expect_exact(Int8ConvProblem(g, rng));
    }
}

Conv2dGeometry window(int64_t height, int64_t width, int64_t channels, int64_t groups) {
  return {.batch = 1,
          .in_height = height,
          .in_width = width,
          .in_channels = channels,
          .out_height = 1,
          .out_width = 1,
          .out_channels = groups,
          .kernel_height = height,
          .kernel_width = width,
          .groups = groups};
}

TEST_F(Int8Conv2dTest, SumsThatInt32HoldsAreExactOthersRefused) {
  static_assert(PackedInt8Weights::kMaxK == 256 * 256);
  Int8ConvProblem p(window(256, 256, 2, 2), rng);
  std::fill(p.x.begin(), p.x.end(), uint8_t{255});
  std::fill(p.w.begin(), p.w.end(), int8_t{-128});
  p.input_zero_point = 0;
  expect_exact(p);
  const std::vector<int8_t> weight(2 * 257 * 256);
  EXPECT_THROW(Int8Conv2d(window(257, 256, 2, 2), weight.data()), ValueError);
  EXPECT_THROW(Int8Conv2d(window(257, 128, 2, 1), weight.data()), ValueError);
}

// Beyond what int32 holds, too, which conversions of floats make the smallest number of.
TEST_F(Int8Conv2dTest, ResultsFarOutsideAreClampedOnEveryInstructionSet) {
  for (const Conv2dGeometry& g : {square(1, 13, 24, 40, 1, 1), square(1, 9, 112, 112, 3, 1, 112)}) {
    Int8ConvProblem p(g, rng);
    for (float& m : p.multiplier) m *= rng() % 2 == 0 ? 1e12f : 100.0f;
    expect_exact(p);
  }
}

// Multipliers below 1 leave sums in the range of int32, which depthwise loops rely on; others take them out of it.
TEST_F(Int8Conv2dTest, LargestSumsAreClampedOnEveryInstructionSet) {
  for (const Conv2dGeometry& g :
       {square(1, 9, 80, 80, 3, 1, 80), square(1, 9, 80, 80, 3, 2, 80), square(1, 9, 80, 80, 5, 1, 80)})
    for (const float largest : {0.99999994f, -0.99999994f, 1.5f, -1.5f}) {
      Int8ConvProblem p(g, rng);
      p.input_zero_point = 0;
      for (int32_t& b : p.bias) b = rng() % 2 == 0 ? 2'140'000'000 : -2'140'000'000;
      std::fill(p.multiplier.begin(), p.multiplier.end(), largest);
      expect_exact(p);
      if (HasFatalFailure()) return;
    }
}

TEST_F(Int8Conv2dTest, ImagesComputedSeparatelyGiveTheSameBits) {
  for (int i = 0; i < 50; ++i) {
    const Int8ConvProblem p(random_geometry(rng), rng);
    const Int8Conv2d conv(p.g, p.w.data());
    std::vector<uint8_t> separate;
    for (int64_t n = 0; n < p.g.batch; ++n) {
      const auto one = p.run<uint8_t>(conv, n, 1);
      separate.insert(separate.end(), one.begin(), one.end());
    }
    EXPECT_EQ(p.run<uint8_t>(conv, 0, p.g.batch), separate) << describe(p.g);
  }
}

TEST_F(Int8Conv2dTest, ImagesWithParametersOfTheirOwnAreExactOnEveryInstructionSet) {
  for (int i = 0; i < 200; ++i) {
    set_num_threads(i % 3 + 1);
    Int8ConvProblem p(random_geometry(rng), rng);
    std::vector<float> bias, scale, expected;
    std::vector<int32_t> zero_points;
    const bool has_bias = rng() % 3 != 0;
    for (float& m : p.multiplier) bias.push_back(has_bias ? 1000 * m * static_cast<float>(rng() % 2001) : 0);
    std::fill(p.bias.begin(), p.bias.end(), 0);
    for (int64_t n = 0; n < p.g.batch; ++n) {
      scale.push_back(static_cast<float>(rng() % 1000 + 1) * 1e-3f);
      zero_points.push_back(static_cast<int32_t>(rng() % 256));
      p.input_zero_point = static_cast<uint8_t>(zero_points.back());
      for (int64_t oy = 0; oy < p.g.out_height; ++oy)
        for (int64_t ox = 0; ox < p.g.out_width; ++ox)
          for (int64_t c = 0; c < p.g.out_channels; ++c) {
            const float scaled = static_cast<float>(p.sum_at(n, oy, ox, c)) * (scale.back() * p.multiplier[at(c)]);
            expected.push_back(p.relu && scaled + bias[at(c)] < 0 ? 0 : scaled + bias[at(c)]);
          }
    }
    for (Isa isa : available_isas()) {
      set_isa(isa);
      const Int8Conv2d conv(p.g, p.w.data());
      std::vector<uint8_t> scratch(at(conv.scratch_bytes(p.g.batch)));
      std::vector<float> y(expected.size());
      conv.run(p.x.data(), p.g.batch,
               {.sums = conv.channel_sums().data(),
                .step = p.multiplier.data(),
                .bias = has_bias ? bias.data() : nullptr,
                .zero_point = zero_points.data(),
                .scale = scale.data(),
                .relu = p.relu},
               y.data(), scratch.data());
      ASSERT_EQ(y, expected) << name(isa) << ", " << describe(p.g);
    }
  }
}

TEST_F(Int8Conv2dTest, KnowsTheSumsOfItsWeights) {
  // Of the taps that can see the image: the others meet the zero point only.
  for (int i = 0; i < 50; ++i) {
    const Int8ConvProblem p(random_geometry(rng), rng);
    Conv2dGeometry trimmed = p.g;
    const FirstTap first = trim_taps(trimmed);
    const Int8Conv2d conv(p.g, p.w.data());
    ASSERT_EQ(conv.channel_sums().size(), at(p.g.out_channels));
    for (int64_t c = 0; c < p.g.out_channels; ++c) {
      int32_t sum = 0;
      for (int64_t in = 0; in < p.g.group_in(); ++in)
        for (int64_t kh = 0; kh < trimmed.kernel_height; ++kh)
          for (int64_t kw = 0; kw < trimmed.kernel_width; ++kw)
            sum += p.w[at(((c * p.g.group_in() + in) * p.g.kernel_height + first.row + kh) * p.g.kernel_width +
                          first.column + kw)];
      EXPECT_EQ(conv.channel_sums()[at(c)], sum) << describe(p.g);
    }
  }
}

}  // namespace
}  // namespace thimble::kernels
