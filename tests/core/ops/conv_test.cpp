#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/core/views.h"
#include <thimble/core/kernels/image/conv2d.h>
#include <thimble/core/ops/channels_last.h>
#include <thimble/core/ops/conv.h>
#include <thimble/core/ops/conv_geometry.h>
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/reduce.h>
#include <thimble/core/parallel.h>
#include <thimble/core/platform/isa.h>

namespace thimble {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

// Output (n, o, y, x) of a convolution, term by term.
double naive_at(const NDArray& image, const NDArray& weight, const Conv2dOptions& o, const Shape& index) {
  const int64_t out_group = weight.shape(0) / o.groups, in_group = weight.shape(1), group = index[1] / out_group;
  double sum = 0;
  for_each_index({in_group, weight.shape(2), weight.shape(3)}, [&](const Shape& k) {
    const int64_t y = index[2] * o.stride.height - o.padding.top + k[1] * o.dilation.height;
    const int64_t x = index[3] * o.stride.width - o.padding.left + k[2] * o.dilation.width;
    if (y < 0 || y >= image.shape(2) || x < 0 || x >= image.shape(3)) return;
    sum += at(image, {index[0], group * in_group + k[0], y, x}) * at(weight, {index[1], k[0], k[1], k[2]});
  });
  return sum;
}

NDArray naive_conv2d(const NDArray& image, const NDArray& weight, const NDArray& bias, const Conv2dOptions& o) {
  auto size = [](int64_t in, int64_t pad, int64_t dilation, int64_t taps, int64_t stride) {
    return (in + pad - dilation * (taps - 1) - 1) / stride + 1;
  };
  NDArray out(
      {image.shape(0), weight.shape(0),
       size(image.shape(2), o.padding.top + o.padding.bottom, o.dilation.height, weight.shape(2), o.stride.height),
       size(image.shape(3), o.padding.left + o.padding.right, o.dilation.width, weight.shape(3), o.stride.width)},
      DType::float64);
  int64_t i = 0;
  for_each_index(out.shape(), [&](const Shape& index) {
    out.data<double>()[i++] = naive_at(image, weight, o, index) + (bias.defined() ? at(bias, {index[1]}) : 0);
  });
  return out;
}

struct ConvCase {
  Shape image, weight;
  Conv2dOptions options;
};

// A convolution of random size, with everything that a convolution can have.
ConvCase random_case(Generator& rng) {
  auto up_to = [&](int64_t n) { return static_cast<int64_t>(rng.below(static_cast<uint64_t>(n))) + 1; };
  ConvCase c;
  const int64_t groups = rng.below(2) == 0 ? 1 : up_to(3), in = up_to(3), out = up_to(3);
  const bool depthwise = groups > 1 && rng.below(2) == 0;
  c.weight = {groups * (depthwise ? 1 : out), depthwise ? 1 : in, up_to(3), up_to(3)};
  c.image = {up_to(3), groups * c.weight[1], up_to(6), up_to(6)};
  Conv2dOptions& o = c.options;
  o.groups = groups;
  o.stride = {up_to(3), up_to(3)};
  o.dilation = {up_to(2), up_to(2)};
  o.padding = {up_to(3) - 1, up_to(3) - 1, up_to(3) - 1, up_to(3) - 1};
  // Where the kernel is too large, grow the image.
  c.image[2] = std::max(c.image[2], o.dilation.height * (c.weight[2] - 1) + 1 - o.padding.top - o.padding.bottom);
  c.image[3] = std::max(c.image[3], o.dilation.width * (c.weight[3] - 1) + 1 - o.padding.left - o.padding.right);
  return c;
}

std::string describe(const ConvCase& c) {
  const Conv2dOptions& o = c.options;
  return str("image ", c.image, " weight ", c.weight, " groups ", o.groups, " stride ", o.stride.height, ',',
             o.stride.width, " dilation ", o.dilation.height, ',', o.dilation.width, " padding ", o.padding.top, ',',
             o.padding.left, ',', o.padding.bottom, ',', o.padding.right);
}

TEST(Conv2d, IsTheNestedLoops) {
  Generator rng(1);
  for (int i = 0; i < 300; ++i) {
    const ConvCase c = random_case(rng);
    SCOPED_TRACE(describe(c));
    const NDArray image = randn_view(c.image, rng), weight = randn_view(c.weight, rng);
    const NDArray bias = i % 2 ? randn(Shape{c.weight[0]}, rng, DType::float64) : NDArray();
    const Tensor b = bias.defined() ? Tensor(bias) : Tensor();
    expect_close(conv2d(image, weight, b, c.options).data(), naive_conv2d(image, weight, bias, c.options), 1e-12);
  }
}

TEST(Conv2d, OfHugeStridesAndPaddingTakesWhatItSees) {
  Generator rng(3);
  const NDArray image = randn(Shape{1, 2, 4, 4}, rng), weight = randn(Shape{3, 2, 1, 1}, rng);
  const Conv2dOptions options{.stride = 1'000'000, .padding = 1'000'000};
  expect_close(conv2d(image, weight, {}, options).data(), naive_conv2d(image, weight, {}, options), 1e-6);
}

TEST(Conv2d, FusedReluKeepsNaN) {
  const int64_t pixels = 5;
  const kernels::Conv2dGeometry g{.batch = 1,
                                  .in_height = 1,
                                  .in_width = pixels,
                                  .in_channels = 1,
                                  .out_height = 1,
                                  .out_width = pixels,
                                  .out_channels = 20,
                                  .kernel_height = 1,
                                  .kernel_width = 1};
  const std::vector<float> x{-1, 2, std::numeric_limits<float>::quiet_NaN(), 0, 3}, bias(20, -1);
  const NDArray packed = conv2d_forward_weight(NDArray::full({20, 1, 1, 1}, 2.0f), g);
  const Isa before = active_isa();
  for (Isa isa : available_isas()) {
    set_isa(isa);
    std::vector<float> y(20 * pixels);
    kernels::conv2d(kernels::forward_frames(g), x.data(), packed.data<float>(), y.data(),
                    kernels::bias_epilogue(bias.data(), true));
    for (size_t i = 0; i < y.size(); ++i) {
      const float v = 2 * x[i / 20] - 1;
      if (std::isnan(v))
        EXPECT_TRUE(std::isnan(y[i])) << name(isa);
      else
        EXPECT_EQ(y[i], std::max(v, 0.0f)) << name(isa);
    }
  }
  set_isa(before);
}

// Sizes that fill the register tiles, on every instruction set, with any number of threads.
TEST(Conv2d, IsTheNestedLoopsOnEveryMachine) {
  const ConvCase cases[] = {
      {{3, 1, 28, 28}, {16, 1, 3, 3}, {.padding = 1}},
      {{2, 16, 14, 14}, {32, 16, 3, 3}, {.padding = 1}},
      {{2, 3, 32, 32}, {17, 3, 7, 7}, {.stride = 4, .padding = 3}},
      {{4, 33, 5, 5}, {47, 33, 1, 1}, {}},
      {{2, 24, 9, 7}, {24, 1, 3, 3}, {.padding = 1, .groups = 24}},
      {{5, 32, 1, 1}, {70, 32, 3, 3}, {.padding = 1}},
      {{2, 20, 6, 6}, {30, 10, 3, 3}, {.stride = 2, .padding = 1, .groups = 2}},
      // Small images, several at a time, in several blocks of images and of weights.
      {{40, 45, 7, 7}, {6, 45, 3, 3}, {.padding = 1}},
      {{9, 64, 5, 5}, {40, 64, 3, 3}, {.padding = 1}},
      {{40, 64, 5, 5}, {38, 32, 3, 3}, {.stride = 2, .padding = 1, .groups = 2}},
      {{30, 40, 4, 4}, {33, 40, 4, 4}, {}},
      // A few small images: rows side by side.
      {{1, 64, 4, 4}, {36, 64, 3, 3}, {.padding = 1}},
      {{2, 16, 5, 5}, {20, 8, 3, 3}, {.padding = 2, .dilation = 2, .groups = 2}},
      // Frames of some rows at a time.
      {{2, 20, 90, 80}, {3, 20, 3, 3}, {.padding = 1}},
      // Windows that lie far apart, in images with and without padding.
      {{3, 6, 20, 20}, {10, 6, 1, 1}, {.stride = 2}},
      {{2, 4, 21, 22}, {10, 4, 2, 2}, {.stride = {3, 5}}},
      {{2, 4, 21, 22}, {10, 4, 2, 2}, {.stride = {9, 5}, .padding = {3, 4, 1, 2}}},
      {{2, 6, 9, 9}, {8, 3, 2, 3}, {.padding = 7, .dilation = {11, 7}, .groups = 2}},
  };
  const int threads = num_threads();
  const Isa before = active_isa();
  Generator rng(2);
  for (const ConvCase& c : cases) {
    SCOPED_TRACE(describe(c));
    const NDArray image = randn(c.image, rng), weight = randn(c.weight, rng), bias = randn(Shape{c.weight[0]}, rng);
    const NDArray expected = naive_conv2d(image, weight, bias, c.options);
    const NDArray grad = randn(expected.shape(), rng, DType::float64);
    Tensor x(image.to(DType::float64), true), w(weight.to(DType::float64), true);
    set_isa(Isa::scalar);
    conv2d(x, w, {}, c.options).backward(Tensor(grad));
    for (Isa isa : available_isas()) {
      set_isa(isa);
      for (int n : {1, 2, 3}) {
        set_num_threads(n);
        Tensor xf(image, true), wf(weight, true);
        const Tensor y = conv2d(xf, wf, bias, c.options);
        expect_close(y.data(), expected, 1e-4);
        y.backward(Tensor(grad.to(DType::float32)));
        expect_close(xf.grad().data(), x.grad().data(), 1e-3);
        expect_close(wf.grad().data(), w.grad().data(), 1e-3);
      }
    }
    set_num_threads(threads);
  }
  set_isa(before);
}

// Whatever tiles, blocks and pieces a batch is made into, an output is the same sum in the same order.
TEST(Conv2d, OfABatchGivesEachSamplesBits) {
  const ConvCase cases[] = {
      {{5, 3, 40, 40}, {20, 3, 7, 7}, {.stride = 2, .padding = 3}},
      {{3, 16, 28, 28}, {33, 16, 3, 3}, {.padding = 1}},
      {{17, 200, 7, 7}, {70, 200, 3, 3}, {.padding = 1}},
      {{2, 800, 5, 5}, {40, 800, 3, 3}, {.padding = 1}},
      {{40, 70, 2, 2}, {64, 70, 3, 3}, {.padding = 1}},
      {{20, 40, 3, 3}, {17, 40, 3, 3}, {.padding = 1}},
      {{6, 24, 14, 14}, {48, 24, 3, 3}, {.stride = 2, .padding = 1}},
      {{9, 96, 6, 6}, {40, 96, 2, 3}, {.stride = {3, 2}, .padding = {2, 1}, .dilation = {2, 1}}},
      {{7, 900, 4, 4}, {64, 900, 1, 1}, {}},
      {{16, 48, 9, 9}, {130, 48, 1, 1}, {.stride = 2}},
      {{3, 32, 60, 60}, {16, 32, 1, 1}, {}},
      {{2, 24, 130, 120}, {8, 24, 3, 3}, {.padding = 1}},
      {{5, 64, 10, 10}, {96, 16, 3, 3}, {.padding = 2, .dilation = 2, .groups = 4}},
      {{4, 40, 11, 11}, {40, 1, 3, 3}, {.stride = 2, .padding = 1, .groups = 40}},
      {{3, 33, 8, 8}, {33, 1, 5, 5}, {.padding = 2, .groups = 33}},
  };
  const int threads = num_threads();
  const Isa before = active_isa();
  Generator rng(7);
  for (const ConvCase& c : cases) {
    SCOPED_TRACE(describe(c));
    const NDArray image = randn(c.image, rng), weight = randn(c.weight, rng), bias = randn(Shape{c.weight[0]}, rng);
    for (Isa isa : available_isas()) {
      set_isa(isa);
      set_num_threads(1);
      std::vector<float> expected;
      for (int64_t i = 0; i < c.image[0]; ++i) {
        const Tensor y = conv2d(image.slice(0, i, i + 1), weight, bias, c.options);
        for (float v : y.data().to_vector<float>()) expected.push_back(v);
      }
      for (int n : {1, 2, 3, 8}) {
        set_num_threads(n);
        EXPECT_EQ(conv2d(image, weight, bias, c.options).data().to_vector<float>(), expected) << name(isa) << ' ' << n;
        const NDArray part = image.slice(0, 0, (c.image[0] + 1) / 2);
        auto got = conv2d(part, weight, bias, c.options).data().to_vector<float>();
        EXPECT_TRUE(std::equal(got.begin(), got.end(), expected.begin())) << name(isa) << ' ' << n;
      }
    }
  }
  set_num_threads(threads);
  set_isa(before);
}

// What an addend is added to, and where it lies: in y itself too, however many blocks the sum is made of.
TEST(Conv2d, AddsWhatLiesInItsOutput) {
  Generator rng(8);
  for (const ConvCase& c : {ConvCase{{2, 300, 5, 5}, {40, 300, 3, 3}, {.padding = 1}},
                            ConvCase{{2, 20, 6, 6}, {20, 1, 3, 3}, {.padding = 1, .groups = 20}}}) {
    SCOPED_TRACE(describe(c));
    const NDArray image = randn(c.image, rng), weight = randn(c.weight, rng), bias = randn(Shape{c.weight[0]}, rng);
    const NDArray sum = to_channels_last(conv2d(image, weight, bias, c.options).data()),
                  addend = randn(sum.shape(), rng);
    const NDArray expected = relu(Tensor(sum) + Tensor(addend)).data();
    const kernels::Conv2dGeometry g = conv2d_geometry("test", c.image, c.weight, c.options);
    const NDArray x = to_channels_last(image), packed = conv2d_forward_weight(weight, g);
    NDArray y = addend.clone();
    kernels::Epilogue<float> epilogue = kernels::bias_epilogue(bias.data<float>(), true);
    epilogue.addend = y.data<float>();
    kernels::conv2d(kernels::forward_frames(g), x.data<float>(), packed.data<float>(), y.data<float>(), epilogue);
    expect_close(y, expected, 1e-4);
  }
}

TEST(Conv2d, GradientsAreRight) {
  Generator rng(3);
  for (int i = 0; i < 40; ++i) {
    const ConvCase c = random_case(rng);
    SCOPED_TRACE(describe(c));
    check_gradients([&](const std::vector<Tensor>& in) { return conv2d(in[0], in[1], in[2], c.options); },
                    {randn_view(c.image, rng), randn_view(c.weight, rng), randn_view({c.weight[0]}, rng)});
  }
}

TEST(Conv2d, GradientsAreBitIdenticalFromRunToRun) {
  Generator rng(4);
  const NDArray image = randn({8, 5, 9, 9}, rng), weight = randn({7, 5, 3, 3}, rng);
  std::vector<float> expected;
  for (int run = 0; run < 5; ++run) {
    Tensor w(weight, true);
    sum(conv2d(image, w, {}, {.padding = 1})).backward();
    const auto got = w.grad().data().to_vector<float>();
    if (run == 0) expected = got;
    EXPECT_EQ(got, expected);
  }
}

TEST(Conv2d, RefusesWhatDoesNotFit) {
  const NDArray x = NDArray::ones({2, 4, 5, 5}), w = NDArray::ones({6, 4, 3, 3});
  auto message = [](const std::string& text) { return ThrowsMessage<ShapeError>(HasSubstr(text)); };
  EXPECT_THAT(
      [&] {
        conv2d(NDArray::ones({2, 1, 5, 5}), w);
      },
      message("conv2d: weight [6,4,3,3] expects 4 input channels, got 1 (input [2,1,5,5])"));
  EXPECT_THAT(
      [&] {
        conv2d(NDArray::ones({2, 4, 2, 5}), w);
      },
      message("a kernel of 3x3 is larger than the padded input, 2x5"));
  EXPECT_THAT([&] { conv2d(NDArray::ones({0, 4, 5, 5}), w); }, message("the batch is empty"));
  EXPECT_THAT([&] { conv2d(x, w, {}, {.groups = 4}); }, message("4 groups do not divide 6 output channels"));
  EXPECT_THAT([&] { conv2d(x, w, {}, {.groups = 2}); }, message("expects 8 input channels, got 4"));
  EXPECT_THAT([&] { conv2d(x, w, NDArray::ones({5})); }, message("bias must be [6], got [5]"));
  EXPECT_THAT([&] { conv2d(NDArray::ones({4, 5, 5}), w); }, message("got [4,5,5]"));
  EXPECT_THROW(conv2d(x, w, {}, {.stride = 0}), ValueError);
  EXPECT_THROW(conv2d(x, w, {}, {.padding = -1}), ValueError);
  EXPECT_THROW(conv2d(x, w, {}, {.dilation = 0}), ValueError);
  EXPECT_THROW(conv2d(x, w, {}, {.groups = 0}), ValueError);
  EXPECT_THROW(conv2d(x, NDArray::ones({6, 4, 3, 3}, DType::float64)), DTypeError);
}

TEST(Conv1d, IsAConvolutionOverRowsOfHeightOne) {
  Generator rng(5);
  const NDArray x = randn({2, 4, 9}, rng, DType::float64), w = randn({6, 2, 3}, rng, DType::float64);
  const Tensor y = conv1d(x, w, {}, {.stride = 2, .padding = 2, .dilation = 2, .groups = 2});
  expect_close(y.data(),
               naive_conv2d(x.unsqueeze(2), w.unsqueeze(2), {},
                            {.stride = {1, 2}, .padding = {0, 2}, .dilation = {1, 2}, .groups = 2})
                   .squeeze(2),
               1e-12);
  check_gradients([](const std::vector<Tensor>& in) { return conv1d(in[0], in[1], {}, {.padding = 1, .groups = 2}); },
                  {x, w});
  EXPECT_THROW(conv1d(NDArray::ones({2, 4}), NDArray::ones({6, 2, 3})), ShapeError);
}

// The transpose of a linear map A: <A x, y> = <x, A^T y> for all x and y.
TEST(ConvTranspose2d, IsTheTransposeOfConv2d) {
  Generator rng(6);
  for (int i = 0; i < 100; ++i) {
    const ConvCase c = random_case(rng);
    SCOPED_TRACE(describe(c));
    const Conv2dOptions& o = c.options;
    const NDArray x = randn(c.image, rng, DType::float64), w = randn(c.weight, rng, DType::float64);
    const Tensor ax = conv2d(x, w, {}, o);
    const NDArray y = randn(ax.shape(), rng, DType::float64);
    const int64_t extra_h =
        (c.image[2] + o.padding.top + o.padding.bottom - o.dilation.height * (c.weight[2] - 1) - 1) % o.stride.height;
    const int64_t extra_w =
        (c.image[3] + o.padding.left + o.padding.right - o.dilation.width * (c.weight[3] - 1) - 1) % o.stride.width;
    const Tensor aty = conv_transpose2d(y, w, {}, o, {extra_h, extra_w});
    ASSERT_EQ(aty.shape(), c.image);
    EXPECT_NEAR(sum(ax * y).item<double>(), sum(aty * x).item<double>(), 1e-9);
  }
}

TEST(ConvTranspose2d, GradientsAreRight) {
  Generator rng(7);
  for (const Conv2dOptions& o : {Conv2dOptions{}, Conv2dOptions{.stride = 2, .padding = 1},
                                 Conv2dOptions{.stride = 2, .padding = {0, 1, 1, 0}, .dilation = 2, .groups = 2}})
    check_gradients(
        [&](const std::vector<Tensor>& in) { return conv_transpose2d(in[0], in[1], in[2], o, o.stride.height - 1); },
        {randn_view({2, 4, 3, 2}, rng), randn_view({4, 3, 3, 2}, rng), randn_view({3 * o.groups}, rng)});
}

TEST(ConvTranspose2d, RefusesWhatDoesNotFit) {
  const NDArray x = NDArray::ones({2, 4, 3, 3}), w = NDArray::ones({4, 2, 3, 3});
  EXPECT_THAT(
      [&] {
        conv_transpose2d(NDArray::ones({2, 3, 3, 3}), w);
      },
      ThrowsMessage<ShapeError>(HasSubstr("expects 4 input channels, got 3")));
  EXPECT_THROW(conv_transpose2d(x, w, {}, {}, 1), ValueError);
  EXPECT_THROW(conv_transpose2d(x, w, {}, {.padding = 4}), ShapeError);
  EXPECT_THROW(conv_transpose2d(x, w, NDArray::ones({3})), ShapeError);
  EXPECT_THROW(conv_transpose2d(NDArray::ones({0, 4, 3, 3}), w), ShapeError);
}

TEST(Conv2dOptions, SurviveAttributes) {
  const Conv2dOptions o{.stride = {1, 2}, .padding = {1, 2, 3, 4}, .dilation = {2, 1}, .groups = 3};
  Attributes a;
  o.to_attributes(a);
  const Conv2dOptions back = Conv2dOptions::from_attributes(a);
  EXPECT_EQ(back.stride, o.stride);
  EXPECT_EQ(back.padding, o.padding);
  EXPECT_EQ(back.dilation, o.dilation);
  EXPECT_EQ(back.groups, o.groups);
  a.set("padding", std::vector<int64_t>{1, 2});
  EXPECT_THROW(Conv2dOptions::from_attributes(a), FormatError);
}

}  // namespace
}  // namespace thimble
