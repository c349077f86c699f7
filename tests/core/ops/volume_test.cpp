// Ops on volumes, beside what torch_layers_test.cpp compares.
#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/core/views.h"
#include <thimble/core/autocast.h>
#include <thimble/core/ops/conv.h>
#include <thimble/core/ops/conv3d.h>
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/pool.h>
#include <thimble/core/ops/pool3d.h>
#include <thimble/core/ops/reduce.h>
#include <thimble/core/ops/shape.h>

namespace thimble {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

using Inputs = std::vector<Tensor>;

TEST(Conv3d, GradientsAreThoseOfDifferences) {
  Generator rng(1);
  const Conv3dOptions plain, strided{.stride = {2, 1, 2}, .padding = {Triple(1, 0, 1), Triple(0, 1, 0)}},
      grouped{.stride = {1, 2, 1}, .padding = 1, .dilation = {2, 1, 1}, .groups = 2};
  for (const auto& [x, weight, given] : {std::tuple(Shape{2, 1, 2, 2, 3}, Shape{2, 1, 2, 2, 1}, plain),
                                         {{1, 2, 3, 2, 3}, {1, 2, 2, 2, 2}, strided},
                                         {{1, 2, 3, 3, 1}, {4, 1, 2, 2, 2}, grouped},
                                         {{1, 1, 1, 1, 1}, {1, 1, 1, 1, 1}, plain}}) {
    const Conv3dOptions& options = given;
    const std::vector<NDArray> inputs{randn_view(x, rng), randn_view(weight, rng), randn_view({weight[0]}, rng)};
    check_gradients([&](const Inputs& in) { return conv3d(in[0], in[1], in[2], options); }, inputs);
    check_gradients(
        [&](const Inputs& in) {
          return conv_transpose3d(in[0], in[1], in[2], {options.stride, 0, options.dilation}, 0);
        },
        {randn_view({1, weight[0], 2, 1, 2}, rng), inputs[1], randn_view({weight[1]}, rng)});
  }
}

TEST(Conv3d, OfOnePlaneIsAConvolutionOfImages) {
  Generator rng(3);
  const NDArray x = randn_view({2, 3, 1, 5, 4}, rng), weight = randn_view({2, 3, 1, 3, 2}, rng);
  const Tensor y = conv3d(x, weight, {}, {.stride = {1, 2, 1}, .padding = {0, 1, 1}});
  const Tensor expected =
      conv2d(x.reshape({2, 3, 5, 4}), weight.reshape({2, 3, 3, 2}), {}, {.stride = {2, 1}, .padding = 1});
  EXPECT_EQ(y.data().to_vector<double>(), expected.data().to_vector<double>());
}

// Of deep kernels most planes see padding alone.
TEST(Conv3d, PaddingIsZerosAroundTheVolume) {
  Generator rng(9);
  const auto up_to = [&](int64_t n) { return static_cast<int64_t>(rng.below(static_cast<uint64_t>(n))) + 1; };
  for (int i = 0; i < 60; ++i) {
    SCOPED_TRACE(i);
    const int64_t depth = up_to(3), kernel = up_to(7), dilation = up_to(2), front = up_to(12) - 1, back = up_to(12) - 1;
    if (depth + front + back < dilation * (kernel - 1) + 1) continue;
    const NDArray x = randn_view({1, 1, depth, 1, 2}, rng), w = randn_view({1, 1, kernel, 1, 1}, rng);
    const Conv3dOptions o{
        .stride = {up_to(4), 1, 1}, .padding = {Triple(front, 0, 0), Triple(back, 0, 0)}, .dilation = {dilation, 1, 1}};
    const Tensor y = conv3d(x, w, {}, o);
    const Tensor padded = pad(x, {0, 0, 0, 0, front, back});
    expect_close(y.data(), conv3d(padded, w, {}, {.stride = o.stride, .dilation = o.dilation}).data(), 1e-12);
    // The transpose: <conv3d(x), z> is <x, conv_transpose3d(z)>.
    const NDArray z = randn_view(y.shape(), rng);
    const Tensor back_again = conv_transpose3d(z, w, {}, {.stride = o.stride, .dilation = o.dilation});
    const Tensor seen = slice(padded, 2, 0, back_again.shape(2));
    EXPECT_NEAR(sum(y * Tensor(z)).item<double>(), sum(seen * back_again).item<double>(), 1e-10);
  }
}

TEST(Conv3d, ABatchIsItsSamples) {
  Generator rng(4);
  const NDArray x = randn_view({3, 4, 5, 6, 7}, rng).to(DType::float32),
                weight = randn_view({6, 2, 3, 3, 3}, rng).to(DType::float32);
  const auto f = [&](const NDArray& in) {
    const Tensor h = conv3d(in, weight, {}, {.padding = 1, .groups = 2});
    return avg_pool3d(max_pool3d(h, 2, {.padding = 1}), {2, 1, 2}, {.stride = 1}).data();
  };
  const NDArray all = f(x);
  for (int64_t n = 0; n < 3; ++n)
    EXPECT_EQ(f(x.slice(0, n, n + 1)).to_vector<float>(), all.slice(0, n, n + 1).to_vector<float>()) << n;
}

TEST(Conv3d, ComputesInFloat32InMixedPrecision) {
  Generator rng(5);
  const NDArray x = randn_view({1, 2, 3, 3, 3}, rng).to(DType::bfloat16),
                weight = randn_view({2, 2, 2, 2, 2}, rng).to(DType::float32);
  const Tensor w(weight, true);
  const Autocast guard(DType::bfloat16);
  const Tensor y = conv3d(x, w);
  EXPECT_EQ(y.dtype(), DType::float32);
  EXPECT_EQ(max_pool3d(x, 2).dtype(), DType::bfloat16);
  sum(y).backward();
  EXPECT_EQ(w.grad().dtype(), DType::float32);
}

TEST(Conv3d, RefusesWhatDoesNotFit) {
  const auto ones = [](const Shape& shape) { return NDArray::ones(shape); };
  const NDArray x = ones({1, 4, 3, 3, 3}), w = ones({2, 4, 2, 2, 2});
  const auto shape_error = [](const char* text) { return ThrowsMessage<ShapeError>(HasSubstr(text)); };
  const auto value_error = [](const char* text) { return ThrowsMessage<ValueError>(HasSubstr(text)); };
  EXPECT_THAT([&] { conv3d(ones({4, 3, 3, 3}), w); }, shape_error("conv3d: input must be [batch, channels, depth"));
  EXPECT_THAT([&] { conv3d(ones({0, 4, 3, 3, 3}), w); }, shape_error("is empty"));
  EXPECT_THAT([&] { conv3d(x, ones({2, 4, 2, 2})); }, shape_error("conv3d: weight must be [out, in / groups"));
  EXPECT_THAT([&] { conv3d(x, ones({2, 3, 2, 2, 2})); }, shape_error("expects 3 input channels, got 4"));
  EXPECT_THAT([&] { conv3d(x, ones({3, 2, 2, 2, 2}), {}, {.groups = 2}); }, shape_error("2 groups do not divide 3"));
  EXPECT_THAT([&] { conv3d(x, w, ones({3})); }, shape_error("bias must be [2], got [3]"));
  EXPECT_THAT([&] { conv3d(x, ones({2, 4, 4, 1, 1})); }, shape_error("a kernel of 4x1x1 is larger than"));
  EXPECT_THAT([&] { conv3d(x, w, {}, {.stride = {1, 0, 1}}); }, value_error("stride 1x0x1"));
  EXPECT_THAT([&] { conv3d(x, w, {}, {.dilation = 0}); }, value_error("dilation 0x0x0"));
  EXPECT_THAT([&] { conv3d(x, w, {}, {.padding = -1}); }, value_error("padding -1x-1x-1"));
  EXPECT_THAT([&] { conv3d(x, w, {}, {.groups = 0}); }, value_error("groups 0"));
  EXPECT_THROW(conv3d(x, w.to(DType::float64)), DTypeError);
  EXPECT_THAT(
      [&] {
        conv_transpose3d(x, ones({4, 2, 2, 2, 2}), {}, {.stride = 2}, {2, 0, 0});
      },
      value_error("output_padding 2 must be at least 0 and less than stride 2"));
  EXPECT_THAT([&] { conv_transpose3d(x, ones({4, 2, 2, 2, 2}), {}, {.padding = 2}); }, shape_error("would be 0x0x0"));
  EXPECT_THAT([&] { conv_transpose3d(x, ones({3, 2, 2, 2, 2})); }, shape_error("expects 3 input channels, got 4"));
}

Tensor volume_pool(const char* op, Attributes attributes, const Tensor& x) {
  for (const char* key : {"stride", "dilation"})
    if (!attributes.contains(key)) attributes.set(key, std::vector<int64_t>{1, 1, 1});
  if (!attributes.contains("padding")) attributes.set("padding", std::vector<int64_t>{0, 0, 0});
  if (!attributes.contains("ceil_mode")) attributes.set("ceil_mode", false);
  return apply(make_op(op, attributes), {x});
}

// Elements of a window, and how many of its cells lie inside of the padded volume.
struct Window3d {
  std::vector<double> elements;
  double cells = 0;
};

// Of each output, `before` and `after` {d, h, w} are cells of padding.
std::vector<Window3d> windows_of(const NDArray& x, const Shape& out, const Shape& kernel, const Shape& stride,
                                 const Shape& dilation, const Shape& before, const Shape& after) {
  std::vector<Window3d> windows;
  for_each_index(out, [&](const Shape& o) {
    Window3d window;
    for_each_index(kernel, [&](const Shape& k) {
      Shape at_x{o[0], o[1], 0, 0, 0};
      bool is_inside = true, is_padded = true;
      for (int d = 0; d < 3; ++d) {
        const int64_t i = o[d + 2] * stride[d] - before[d] + k[d] * dilation[d];
        at_x[d + 2] = i;
        is_inside = is_inside && i >= 0 && i < x.shape(d + 2);
        is_padded = is_padded && i < x.shape(d + 2) + after[d];
      }
      if (is_inside) window.elements.push_back(at(x, at_x));
      window.cells += is_padded;
    });
    windows.push_back(window);
  });
  return windows;
}

TEST(Pools3d, AreThoseOfEachWindow) {
  Generator rng(6);
  const NDArray x = randn_view({2, 2, 5, 4, 6}, rng);
  const std::vector<int64_t> kernel{2, 3, 2}, stride{2, 1, 3}, dilation{2, 1, 2}, padding{1, 0, 1, 0, 2, 0};
  for (const bool ceil_mode : {false, true}) {
    const Attributes a{{"kernel_size", kernel},
                       {"stride", stride},
                       {"dilation", dilation},
                       {"padding", padding},
                       {"ceil_mode", ceil_mode}};
    const NDArray y = volume_pool("max_pool3d", a, x).data();
    ASSERT_EQ(y.shape(), (Shape{2, 2, ceil_mode ? 3 : 2, 4, ceil_mode ? 3 : 2}));
    const auto windows = windows_of(x, y.shape(), kernel, stride, dilation, {1, 0, 1}, {0, 2, 0});
    const auto expect = [&](const Tensor& got, const std::function<double(const Window3d&)>& f) {
      const auto values = got.data().to_vector<double>();
      ASSERT_EQ(values.size(), windows.size());
      for (size_t i = 0; i < values.size(); ++i) ASSERT_NEAR(values[i], f(windows[i]), 1e-12) << i;
    };
    const auto total = [](const Window3d& w, double p) {
      double sum = 0;
      for (const double v : w.elements) sum += p == 0 ? v : std::pow(std::abs(v), p);
      return sum;
    };
    expect(volume_pool("max_pool3d", a, x), [](const Window3d& w) { return *std::ranges::max_element(w.elements); });
    for (const bool counts : {false, true}) {
      Attributes more = a;
      more.set("count_include_pad", counts);
      expect(volume_pool("avg_pool3d", more, x), [&](const Window3d& w) {
        return total(w, 0) / (counts ? w.cells : static_cast<double>(w.elements.size()));
      });
      check_gradients([&](const Inputs& in) { return volume_pool("avg_pool3d", more, in[0]); }, {x});
    }
    check_gradients([&](const Inputs& in) { return volume_pool("max_pool3d", a, in[0]); }, {x});
    for (const double p : {1.0, 2.0, 3.0}) {
      Attributes more = a;
      more.set("p", p);
      expect(volume_pool("lp_pool3d", more, x), [&](const Window3d& w) { return std::pow(total(w, p), 1 / p); });
      check_gradients([&](const Inputs& in) { return volume_pool("lp_pool3d", more, in[0]); }, {x});
    }
  }
}

TEST(Pools3d, PaddingMayFollowFromTheSize) {
  Generator rng(7);
  const NDArray x = randn_view({1, 2, 5, 6, 4}, rng);
  const std::vector<int64_t> kernel{3, 3, 1}, stride{2, 2, 1};
  for (const bool upper : {true, false}) {
    const Attributes a{
        {"kernel_size", kernel}, {"stride", stride}, {"auto_pad", std::string(upper ? "upper" : "lower")}};
    const Tensor around =
        pad(x, upper ? std::vector<int64_t>{0, 0, 0, 1, 1, 1} : std::vector<int64_t>{0, 0, 1, 0, 1, 1},
            -std::numeric_limits<double>::infinity());
    EXPECT_EQ(volume_pool("max_pool3d", a, x).data().to_vector<double>(),
              max_pool3d(around, {3, 3, 1}, {.stride = Triple(2, 2, 1)}).data().to_vector<double>());
  }
}

TEST(Pools3d, GradientsOfAdaptiveAndGlobalMeans) {
  Generator rng(8);
  const NDArray x = randn_view({2, 3, 4, 3, 5}, rng);
  check_gradients([](const Inputs& in) { return adaptive_avg_pool3d(in[0], {3, 2, 4}); }, {x});
  const auto got = global_avg_pool3d(x).data().to_vector<double>(),
             expected = mean(x, {2, 3, 4}, true).data().to_vector<double>();
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-14);
}

TEST(MaxPool3d, LetsNanThroughAndPicksTheFirstOfSeveral) {
  NDArray x = NDArray::zeros({1, 1, 2, 2, 4}, DType::float64);
  x.data<double>()[13] = std::nan("");
  const auto values = max_pool3d(x, 2).data().to_vector<double>();
  EXPECT_TRUE(std::isnan(values[0]));
  EXPECT_EQ(values[1], 0);
  const Tensor zeros(NDArray::zeros({1, 1, 2, 2, 2}, DType::float64), true);
  sum(max_pool3d(zeros, 2)).backward();
  EXPECT_THAT(zeros.grad().data().to_vector<double>(), ElementsAre(1, 0, 0, 0, 0, 0, 0, 0));
}

TEST(MaxPool3d, OfIntegersIsExact) {
  NDArray x({1, 1, 2, 2, 2}, DType::uint8);
  for (int64_t i = 0; i < 8; ++i) x.data<uint8_t>()[i] = static_cast<uint8_t>(10 * i);
  EXPECT_THAT(max_pool3d(x, {2, 1, 2}).data().to_vector<int64_t>(), ElementsAre(50, 70));
  EXPECT_THROW(avg_pool3d(x, 2), DTypeError);
  EXPECT_THROW(adaptive_avg_pool3d(x, 1), DTypeError);
}

TEST(Pools3d, RefuseWhatDoesNotFit) {
  const NDArray x = NDArray::ones({1, 2, 3, 4, 5});
  EXPECT_THAT(
      [&] {
        max_pool3d(x, {4, 1, 1});
      },
      ThrowsMessage<ShapeError>(HasSubstr("max_pool3d: a kernel of 4 is larger than the padded input, 3")));
  EXPECT_THAT(
      [&] {
        avg_pool3d(x, 2, {.padding = {0, 0, 2}});
      },
      ThrowsMessage<ValueError>(HasSubstr("avg_pool3d: padding 2 must be 0 to half of the kernel's 2")));
  EXPECT_THAT([&] { max_pool3d(x.reshape({2, 3, 4, 5}), 2); }, ThrowsMessage<ShapeError>(HasSubstr("got [2,3,4,5]")));
  EXPECT_THAT([&] { max_pool3d(x, 2, {.stride = Triple(0, 1, 1)}); },
              ThrowsMessage<ValueError>(HasSubstr("max_pool3d: stride 0")));
  EXPECT_THROW(lp_pool3d(x, 0, 2), ValueError);
  EXPECT_THROW(adaptive_avg_pool3d(x, {0, 1, 1}), ValueError);
  EXPECT_THROW(make_op("max_pool3d", {{"kernel_size", std::vector<int64_t>{2, 2}}}), FormatError);
}

}  // namespace
}  // namespace thimble
