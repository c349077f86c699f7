#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/quant/reference.h"
#include <thimble/core/ops/conv.h>

namespace thimble::quant {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

struct Case {
  Shape weight;
  Conv2dOptions options;
  Shape image;  // without the batch
};

nn::Conv2d float_conv(const Case& c, std::mt19937& rng) {
  return nn::Conv2d(random_normal(c.weight, rng), random_normal({c.weight[0]}, rng), c.options);
}

// Everything that a convolution can have; plain, grouped and depthwise in turn.
Case random_case(int trial, std::mt19937& rng) {
  const auto up_to = [&](int64_t n) { return static_cast<int64_t>(1 + rng() % static_cast<uint64_t>(n)); };
  const auto below = [&](int64_t n) { return up_to(n) - 1; };
  const int64_t kernel_h = up_to(4), kernel_w = up_to(4);
  const int64_t groups = trial % 3 == 0 ? 1 : trial % 3 == 1 ? up_to(4) : up_to(40);
  const int64_t in_group = trial % 3 == 2 ? 1 : up_to(trial % 2 ? 5 : 40);
  const int64_t out_group = trial % 3 == 2 ? (rng() % 4 ? 1 : 2) : up_to(20);
  Case c{{groups * out_group, in_group, kernel_h, kernel_w}, {}, {}};
  c.options = {.stride = Pair(up_to(3), up_to(3)),
               .padding = Padding(below(3), below(3), below(3), below(3)),
               .dilation = Pair(up_to(2), up_to(2)),
               .groups = groups};
  // At least as large as the kernel reaches.
  c.image = {groups * in_group, c.options.dilation.height * (kernel_h - 1) + below(8) + 1,
             c.options.dilation.width * (kernel_w - 1) + below(8) + 1};
  return c;
}

std::string describe(const Case& c) {
  const Conv2dOptions& o = c.options;
  return str("weight ", c.weight, ", image ", c.image, ", stride ", o.stride.height, "x", o.stride.width, ", padding ",
             o.padding.top, ",", o.padding.left, ",", o.padding.bottom, ",", o.padding.right, ", dilation ",
             o.dilation.height, "x", o.dilation.width, ", groups ", o.groups);
}

Shape with_batch(int64_t n, const Shape& image) { return {n, image[0], image[1], image[2]}; }

TEST(QuantizedConv2d, IsTheNestedLoopsOnEveryMachine) {
  std::mt19937 rng(1);
  for (int trial = 0; trial < 90; ++trial) {
    const Case c = random_case(trial, rng);
    const TensorQParams input{0.02f, static_cast<int32_t>(rng() % 256), 8};
    const int weight_bits = 2 + static_cast<int>(rng() % 7), bits = 2 + static_cast<int>(rng() % 7);
    std::optional<TensorQParams> output;
    if (rng() % 3)
      output = TensorQParams{0.8f / static_cast<float>(1 << bits), static_cast<int32_t>(rng() % (1u << bits)), bits};
    const auto layer = quantize_conv(float_conv(c, rng), input, output, rng() % 2 == 0,
                                     QuantizationSpec::per_channel_weight(weight_bits));
    SCOPED_TRACE(describe(c));
    const NDArray x = random_bytes(with_batch(static_cast<int64_t>(1 + rng() % 3), c.image), rng);
    const auto expected = reference_conv2d(*layer, x);
    on_every_machine([&] {
      const Tensor y = (*layer)(Tensor(x));
      EXPECT_EQ(y.dtype(), output ? DType::uint8 : DType::float32);
      EXPECT_EQ(y.data().to_vector<float>(), expected);
      for (int64_t n = 0; n < x.shape(0); ++n)
        EXPECT_EQ((*layer)(Tensor(x.slice(0, n, n + 1))).data().to_vector<float>(),
                  y.data().slice(0, n, n + 1).to_vector<float>())
            << "image " << n << " alone";
    });
  }
}

// Of the float convolution of what the integers stand for it is the rounded result.
TEST(QuantizedConv2d, IsTheFloatConvolutionRounded) {
  std::mt19937 rng(2);
  for (int trial = 0; trial < 30; ++trial) {
    const Case c = random_case(trial, rng);
    SCOPED_TRACE(describe(c));
    const nn::Conv2d conv = float_conv(c, rng);
    const NDArray x = random_normal(with_batch(2, c.image), rng);
    const QParams p = choose_qparams(x);
    const Tensor exact = conv2d(x, conv.weight, conv.bias, c.options);
    const QParams out = choose_qparams(exact.data());
    const auto layer = quantize_conv(conv, TensorQParams::from(p), TensorQParams::from(out));
    const NDArray got = dequantize((*layer)(Tensor(quantize(x, p))).data(), out);
    const auto g = got.to_vector<double>(), e = exact.data().to_vector<double>();
    ASSERT_EQ(got.shape(), exact.shape());
    double signal = 0, noise = 0;
    for (size_t i = 0; i < e.size(); ++i) {
      signal += e[i] * e[i];
      noise += (g[i] - e[i]) * (g[i] - e[i]);
    }
    EXPECT_GT(10 * std::log10(signal / noise), 30);
  }
}

TEST(QuantizedConv2d, TakesAnyStrides) {
  std::mt19937 rng(3);
  const Case c{{5, 3, 3, 2}, {.padding = 1}, {3, 6, 7}};
  const auto layer = quantize_conv(float_conv(c, rng), {0.1f, 7, 8});
  const NDArray x = random_bytes({2, 3, 6, 7}, rng);
  const auto expected = reference_conv2d(*layer, x);
  for (const NDArray& strided : {x.permute({0, 2, 3, 1}).contiguous().permute({0, 3, 1, 2}),
                                 x.permute({3, 2, 1, 0}).contiguous().permute({3, 2, 1, 0})})
    EXPECT_EQ((*layer)(Tensor(strided)).data().to_vector<float>(), expected);
}

TEST(QuantizedConv2d, RefusesWrongInputs) {
  std::mt19937 rng(4);
  const Case c{{6, 2, 3, 3}, {.padding = Padding(1, 0), .groups = 2}, {4, 8, 8}};
  const auto layer = quantize_conv(float_conv(c, rng), {0.1f, 7, 8});
  const auto apply_to = [&](const Shape& shape, DType dtype = DType::uint8) {
    return [&layer, shape, dtype] { (*layer)(Tensor(NDArray::zeros(shape, dtype))); };
  };
  const auto shape_error = [](const std::string& text) { return ThrowsMessage<ShapeError>(HasSubstr(text)); };
  EXPECT_THAT(apply_to({1, 4, 8, 8}, DType::float32),
              ThrowsMessage<DTypeError>(HasSubstr("QuantizedConv2d: expects uint8 input, got float32")));
  EXPECT_THROW(apply_to({1, 4, 8, 8}, DType::int8)(), DTypeError);
  EXPECT_THAT(apply_to({1, 3, 8, 8}),
              shape_error("quantized_conv2d: weight [6,2,3,3] expects 4 input channels, got 3 (input [1,3,8,8])"));
  EXPECT_THAT(apply_to({1, 4, 8, 2}), shape_error("quantized_conv2d: a kernel of 3x3 is larger than the padded input, "
                                                  "10x2 (input [1,4,8,2])"));
  EXPECT_THAT(apply_to({0, 4, 8, 8}), shape_error("quantized_conv2d: the batch is empty (input [0,4,8,8])"));
  EXPECT_THAT(apply_to({4, 8, 8}), shape_error("[batch, channels, height, width], got [4,8,8]"));
  EXPECT_THAT(([] {
                QuantizedConv2d({6, 2, 3, 3}, {.groups = 4}, {});
              }),
              shape_error("QuantizedConv2d: 4 groups do not divide 6 output channels (weight [6,2,3,3])"));
  EXPECT_THROW(QuantizedConv2d({6, 2, 3, 3}, {.stride = 0}, {}), ValueError);
  EXPECT_THROW(QuantizedConv2d({6, 2, 3, 3}, {}, {.input = {0.0f, 0, 8}}), ValueError);
  EXPECT_THROW(QuantizedConv2d({6, 0, 3, 3}, {}, {}), ValueError);
  QuantizedConv2d empty({6, 2, 3, 3}, {}, {});
  EXPECT_THROW(empty(Tensor(NDArray::zeros({1, 2, 5, 5}, DType::uint8))), ValueError);
}

TEST(QuantizedConv2d, IsRebuiltFromItsAttributesAndTensors) {
  std::mt19937 rng(5);
  for (int trial = 0; trial < 9; ++trial) {
    const Case c = random_case(trial, rng);
    const auto output = trial % 2 ? std::optional(TensorQParams{0.3f, 1, 3}) : std::nullopt;
    const auto layer =
        quantize_conv(float_conv(c, rng), {0.1f, 7, 6}, output, trial % 4 < 2, QuantizationSpec::per_channel_weight(5));
    const auto copy = nn::copy_layer(*layer);
    EXPECT_EQ(copy->attributes(), layer->attributes());
    const Tensor x = random_bytes(with_batch(2, c.image), rng);
    EXPECT_EQ((*copy)(x).data().to_vector<float>(), (*layer)(x).data().to_vector<float>());
  }
}

}  // namespace
}  // namespace thimble::quant
