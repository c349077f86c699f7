#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/quant/reference.h"
#include <thimble/core/op.h>
#include <thimble/nn/graph/graph.h>
#include <thimble/quant/linear_quantization.h>

namespace thimble::quant {
namespace {

using ::testing::ElementsAre;

Tensor floats(const std::vector<float>& values) { return NDArray::from_vector(values); }
Tensor number(float value) { return NDArray::from_vector(std::vector{value}, {}); }

// The position of an element's parameter, as the standard has it.
int64_t parameter_of(const Shape& x, int64_t element, const ParameterAxis& p, int axis) {
  Shape index = x;
  for (int d = x.ndim() - 1; d >= 0; --d) {
    index[d] = element % x[d];
    element /= x[d];
  }
  if (p.block_size == 0) return index[axis];
  int64_t at = 0;
  for (int d = 0; d < x.ndim(); ++d) {
    const int64_t size = d == axis ? (x[d] + p.block_size - 1) / p.block_size : x[d];
    at = at * size + (d == axis ? index[d] / p.block_size : index[d]);
  }
  return at;
}

TEST(LinearQuantization, ParametersLieAlongAnAxisOrInBlocks) {
  std::mt19937 rng(1);
  const struct {
    Shape x, parameters;
    ParameterAxis axis;
  } cases[] = {{{3, 4, 5}, {4}, {}},           {{3, 4, 5}, {5}, {.axis = -1}},  {{6, 7}, {6, 3}, {1, 3}},
               {{6, 7}, {3, 7}, {0, 2}},       {{2, 9, 3}, {2, 3, 3}, {1, 4}},  {{5}, {1}, {0, 8}},
               {{3, 0, 2}, {3, 0, 2}, {1, 2}}, {{2, 3, 1, 2}, {2}, {.axis = 3}}};
  for (const auto& c : cases) {
    const NDArray x = random_normal(c.x, rng);
    std::vector<float> scale;
    std::vector<int8_t> zero_point;
    for (int64_t i = 0; i < c.parameters.numel(); ++i) {
      scale.push_back(0.01f * static_cast<float>(1 + rng() % 20));
      zero_point.push_back(static_cast<int8_t>(rng() % 256));
    }
    const Tensor scales = NDArray::from_vector(scale, c.parameters);
    const Tensor zero_points = NDArray::from_vector(zero_point, c.parameters);
    const Tensor q = quantize_linear(x, scales, zero_points, c.axis);
    const Tensor y = dequantize_linear(q, scales, zero_points, c.axis);
    ASSERT_EQ(q.dtype(), DType::int8);
    const auto values = x.to_vector<float>(), back = y.data().to_vector<float>();
    const auto integers = q.data().to_vector<int>();
    const int axis = normalize_axis(c.axis.axis, c.x.ndim(), "test");
    for (int64_t i = 0; i < x.numel(); ++i) {
      const auto e = static_cast<size_t>(i), p = static_cast<size_t>(parameter_of(c.x, i, c.axis, axis));
      const int expected =
          std::clamp(static_cast<int>(std::nearbyint(values[e] / scale[p])) + zero_point[p], -128, 127);
      EXPECT_EQ(integers[e], expected) << c.x << ' ' << i;
      EXPECT_EQ(back[e], scale[p] * static_cast<float>(expected - zero_point[p])) << c.x << ' ' << i;
    }
  }
}

TEST(LinearQuantization, EachTypeSaturates) {
  const Tensor x = floats({-1e9f, -9, -2.5f, 0.5f, 1.5f, 300, 1e9f, NAN});
  const auto quantized = [&](const std::string& type) {
    return quantize_linear(x, number(1), {}, {}, type).data().to_vector<int>();
  };
  EXPECT_THAT(quantized(""), ElementsAre(0, 0, 0, 0, 2, 255, 255, 0));
  EXPECT_THAT(quantized("int8"), ElementsAre(-128, -9, -2, 0, 2, 127, 127, -128));
  EXPECT_THAT(quantized("uint16"), ElementsAre(0, 0, 0, 0, 2, 300, 65535, 0));
  EXPECT_THAT(quantized("int16"), ElementsAre(-32768, -9, -2, 0, 2, 300, 32767, -32768));
  EXPECT_THAT(quantized("int4"), ElementsAre(-8, -8, -2, 0, 2, 7, 7, -8));
  EXPECT_THAT(quantized("uint2"), ElementsAre(0, 0, 0, 0, 2, 3, 3, 0));
  EXPECT_THAT(quantize_linear(floats({17, 500, -3.2f}), number(1), {}, {}, "float8e4m3fn").data().to_vector<float>(),
              ElementsAre(16, 448, -3.25f));
}

// Those that are not contiguous, and of other dtypes.
TEST(LinearQuantization, TakesViewsAndIntegers) {
  const NDArray x = NDArray::arange(6).reshape({2, 3}).transpose(0, 1);
  EXPECT_THAT(quantize_linear(x, number(2), NDArray::full({}, 1, DType::int16)).data().to_vector<int>(),
              ElementsAre(1, 3, 1, 3, 2, 3));
  EXPECT_THAT(dequantize_linear(x.to(DType::int16), floats({1, 2, 3}), {}, {.axis = 0}).data().to_vector<float>(),
              ElementsAre(0, 3, 2, 8, 6, 15));
  EXPECT_THAT(quantize_linear(NDArray::full({1}, 7, DType::int32), number(2)).data().to_vector<int>(), ElementsAre(4));
  const NDArray big = NDArray::full({1}, 1 << 24, DType::int32);
  EXPECT_THAT(dequantize_linear(big, number(0.5f), NDArray::full({}, 2, DType::int32)).data().to_vector<float>(),
              ElementsAre(8388607));
}

// The executor has images channels-last.
TEST(LinearQuantization, RunsInGraphsAsByItself) {
  std::mt19937 rng(2);
  nn::Graph graph;
  nn::Node* x = graph.add_input("x");
  const Tensor channels = floats({0.1f, 0.02f, 0.3f}), one = number(0.05f);
  nn::Node *scales = graph.add_tensor("scales", channels), *scale = graph.add_tensor("scale", one);
  nn::Node* a = graph.add_op("a", "quantize_linear", {{"type", std::string("int8")}}, {x, scales});
  nn::Node* b = graph.add_op("b", "dequantize_linear", {}, {a, scales});
  nn::Node* c = graph.add_op("c", "quantize_linear", {{"type", std::string("int16")}}, {b, scale});
  graph.set_output(graph.add_op("d", "dequantize_linear", {}, {c, scale}));
  graph.eval();
  for (const Shape& shape : {Shape{2, 3, 4, 5}, Shape{7, 3, 1, 2}, Shape{1, 3}}) {
    const Tensor image = random_normal(shape, rng);
    const Tensor rounded = dequantize_linear(quantize_linear(image, channels, {}, {}, "int8"), channels);
    const Tensor expected = dequantize_linear(quantize_linear(rounded, one, {}, {}, "int16"), one);
    EXPECT_EQ(graph(image).data().to_vector<float>(), expected.data().to_vector<float>()) << shape;
  }
}

TEST(LinearQuantization, RefusesParametersThatDoNotFit) {
  const Tensor x = NDArray::zeros({2, 6}), pair = floats({1, 2});
  EXPECT_THROW(quantize_linear(x, pair), ShapeError);
  EXPECT_THROW(quantize_linear(x, pair, {}, {.axis = 2}), ShapeError);
  EXPECT_THROW(quantize_linear(x, pair, {}, {.axis = 1, .block_size = 3}), ShapeError);
  EXPECT_THROW(quantize_linear(x, number(1), {}, {.block_size = -1}), ValueError);
  EXPECT_THROW(quantize_linear(x, number(1), NDArray::zeros({2}, DType::int8)), ShapeError);
  EXPECT_THROW(quantize_linear(x, number(1), NDArray::zeros({}, DType::int8), {}, "uint8"), DTypeError);
  EXPECT_THROW(quantize_linear(x, number(1), {}, {}, "int7"), ValueError);
  EXPECT_THROW(quantize_linear(x, NDArray::ones({}, DType::float64)), DTypeError);
  EXPECT_THROW(dequantize_linear(NDArray::zeros({2}, DType::int64), number(1)), DTypeError);
  EXPECT_THROW(make_op("quantize_linear", {{"type", std::string("float9")}}), FormatError);
}

}  // namespace
}  // namespace thimble::quant
