// What joins two values, arithmetic with constants, and what moves values, between integer layers.
#include "tests/quant/conversion.h"
#include <thimble/core/ops.h>
#include <thimble/nn/layers/conv.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/quant/passes/as_convolutions.h>

namespace thimble::quant {
namespace {

using OfTwo = std::function<Tensor(const Tensor&, const Tensor&)>;
using OfOne = std::function<Tensor(const Tensor&)>;

struct TwoBranches : nn::Module {
  explicit TwoBranches(OfTwo f) : join(std::move(f)) {}
  nn::Submodule<nn::Conv2d> a{this, "a", 3, 6, 3, nn::Conv2d::Options{.padding = 1}}, b{this, "b", 3, 6, 1},
      last{this, "last", 6, 4, 1};
  OfTwo join;
  Tensor forward(const Tensor& x) override { return last(join(a(x), b(x))); }
};

struct Between : nn::Module {
  explicit Between(OfOne f, int64_t channels = 8) : function(std::move(f)), last(this, "last", channels, 4, 1) {}
  nn::Submodule<nn::Conv2d> first{this, "first", 3, 8, 3, nn::Conv2d::Options{.padding = 1}};
  OfOne function;
  nn::Submodule<nn::Conv2d> last;
  Tensor forward(const Tensor& x) override { return last(function(first(x))); }
};

class PairsAndMoves : public QuantizeTest {
 protected:
  // Everything but the edges is an integer layer, or an op on integers.
  void expect_all_integers(nn::Module& model, const Shape& shape, double least_sqnr) {
    const Graph graph = traced(model, shape);
    result = quantized(graph);
    EXPECT_EQ(result.count("Quantize"), 1) << result.graph.table();
    EXPECT_EQ(result.count("Dequantize"), 0) << result.graph.table();
    for (const LayerReport& entry : result.report) EXPECT_FALSE(entry.kept_float) << entry.name << ": " << entry.reason;
    EXPECT_GT(sqnr(graph, result), least_sqnr);
    expect_integers(result.graph);
    expect_deterministic(result.graph);
  }

  Converted result;
};

TEST_F(PairsAndMoves, OfTwoValuesAreIntegerLayers) {
  const std::pair<const char*, OfTwo> pairs[] = {
      {"QuantizedSub", [](const Tensor& x, const Tensor& y) { return x - y; }},
      {"QuantizedMaximum", [](const Tensor& x, const Tensor& y) { return maximum(x, y); }},
      {"QuantizedMinimum", [](const Tensor& x, const Tensor& y) { return minimum(x, y); }},
      {"QuantizedMul", [](const Tensor& x, const Tensor& y) { return x * y; }},
  };
  for (const auto& [type, join] : pairs) {
    SCOPED_TRACE(type);
    TwoBranches model(join);
    expect_all_integers(model, {4, 3, 7, 6}, 25);
    EXPECT_EQ(result.count(type), 1) << result.graph.table();
  }
}

// What is left of two values that nearly cancel would be their rounding.
TEST_F(PairsAndMoves, SumsThatAreFarSmallerThanTheirInputsStayFloat) {
  TwoBranches sub([](const Tensor&x, const Tensor&y) { return x - (x + 0.1 * y); }),
      add([](const Tensor&x, const Tensor&y) { return x + (0.1 * y - x); });
  for (const auto& [op, inner, model] : {std::tuple("sub", "add", &sub), {"add", "sub", &add}}) {
    SCOPED_TRACE(op);
    const Graph graph = traced(*model, {4, 3, 7, 6});
    result = quantized(graph);
    EXPECT_EQ(result.layer(op).reason, "its values are far smaller than those of its input 'a'");
    EXPECT_EQ(result.layer(inner).reason, "no integer layer reads its result");
    EXPECT_EQ(result.count("QuantizedConv2d"), 3);
    EXPECT_GT(sqnr(graph, result), 35);
    expect_integers(result.graph);
  }
  TwoBranches half([](const Tensor& x, const Tensor& y) { return x - (0.5 * x + 0.1 * y); });
  expect_all_integers(half, {4, 3, 7, 6}, 25);
}

// A quotient of rounded numbers is as wrong as its divisor is small.
TEST_F(PairsAndMoves, QuotientsStayFloat) {
  TwoBranches model([](const Tensor& x, const Tensor& y) { return x / (y * y + 1.0); });
  const Graph graph = traced(model, {4, 3, 7, 6});
  result = quantized(graph);
  EXPECT_EQ(result.layer("div").reason, "it has no integer form");
  EXPECT_EQ(result.count("div"), 1);
}

// However a number for each channel is spelled: as weights of the layer in front.
TEST_F(PairsAndMoves, ArithmeticWithAConstantGoesIntoTheLayerInFront) {
  std::mt19937 generator(3);
  for (const Shape& shape : {Shape{8, 1, 1}, Shape{1, 8, 1, 1}}) {
    NDArray numbers = random_normal(shape, generator);
    for (int64_t i = 0; i < 8; ++i) numbers.data<float>()[i] += numbers.data<float>()[i] < 0 ? -0.5f : 0.5f;
    const Tensor c(numbers);
    const std::pair<const char*, OfOne> functions[] = {
        {"x + c", [=](const Tensor& x) { return x + c; }},
        {"x - c", [=](const Tensor& x) { return x - c; }},
        {"c - x", [=](const Tensor& x) { return c - x; }},
        {"x * c", [=](const Tensor& x) { return x * c; }},
        {"c * x", [=](const Tensor& x) { return c * x; }},
        {"x / c", [=](const Tensor& x) { return x / c; }},
        {"all", [=](const Tensor& x) { return relu((c - x / c) * c); }},
    };
    for (const auto& [name, function] : functions) {
      SCOPED_TRACE(name);
      Between model(function);
      expect_all_integers(model, {4, 3, 7, 6}, 30);
      EXPECT_EQ(result.graph.nodes().size(), 4u) << result.graph.table();
    }
  }
}

TEST_F(PairsAndMoves, RowsTakeConstantsToo) {
  struct Net : nn::Module {
    nn::Submodule<nn::Linear> first{this, "first", 8, 16}, last{this, "last", 16, 4};
    Tensor c = register_buffer("c", NDArray::from_vector<float>({1, 2, 3, 4, 5, 6, 7, 8, -1, -2, -3, -4, -5, 9, 9, 9}));
    Tensor forward(const Tensor& x) override { return last(relu(c - first(x) * c)); }
  } model;
  expect_all_integers(model, {16, 8}, 30);
  EXPECT_EQ(result.graph.nodes().size(), 4u) << result.graph.table();
}

// What cannot go in front is an integer layer with a constant of integers; a single number makes a table.
TEST_F(PairsAndMoves, ConstantsBehindOthersAreIntegers) {
  std::mt19937 generator(4);
  const Tensor c(random_normal({8, 1, 1}, generator)), number = Tensor::scalar(0.25f);
  const std::tuple<const char*, const char*, OfOne> functions[] = {
      {"x - c", "QuantizedSub", [=](const Tensor& x) { return relu(x) - c; }},
      {"c - x", "QuantizedSub", [=](const Tensor& x) { return c - relu(x); }},
      {"x * c", "QuantizedMul", [=](const Tensor& x) { return relu(x) * c; }},
      {"max(x, c)", "QuantizedMaximum", [=](const Tensor& x) { return maximum(x, c); }},
      {"min(c, x)", "QuantizedMinimum", [=](const Tensor& x) { return minimum(c, x); }},
      {"max(x, 0.25)", "QuantizedTable", [=](const Tensor& x) { return maximum(x, number); }},
      {"0.25 - x", "QuantizedTable", [=](const Tensor& x) { return number - x; }},
      {"1 / (x * x + 0.25)", "QuantizedTable", [=](const Tensor& x) { return 1.0 / (x * x + number); }},
  };
  for (const auto& [name, type, function] : functions) {
    SCOPED_TRACE(name);
    Between model(function);
    expect_all_integers(model, {4, 3, 7, 6}, 25);
    EXPECT_EQ(result.count(type), 1) << result.graph.table();
  }
}

// What is never the larger or the smaller one takes no integers from the rest.
TEST_F(PairsAndMoves, BoundsThatNoValueReachesCostNothing) {
  NDArray low = NDArray::full({8, 1, 1}, -900), high = NDArray::full({8, 1, 1}, 900);
  for (const int64_t channel : {1, 2, 5}) {
    low.data<float>()[channel] = 1.7f;
    high.data<float>()[channel] = -1.7f;
  }
  Between largest([c = Tensor(low)](const Tensor&x) { return maximum(x, c); }),
      smallest([c = Tensor(high)](const Tensor&x) { return minimum(c, x); });
  for (const auto& [type, model] : {std::pair("QuantizedMaximum", &largest), {"QuantizedMinimum", &smallest}}) {
    SCOPED_TRACE(type);
    expect_all_integers(*model, {4, 3, 7, 6}, 30);
    EXPECT_EQ(result.count(type), 1) << result.graph.table();
  }
}

// Factors that would leave floats or their digits, divisors of 0, and what is not finite stay behind their layer.
TEST_F(PairsAndMoves, SenselessConstantsStayWhereTheyAre) {
  constexpr float kInf = std::numeric_limits<float>::infinity(), kNaN = std::numeric_limits<float>::quiet_NaN();
  using WithConstant = std::function<Tensor(const Tensor& x, const Tensor& c)>;
  const std::tuple<const char*, std::vector<float>, WithConstant> functions[] = {
      {"x / c", {0, 1e-30f, 1e30f, kNaN}, [](const Tensor& x, const Tensor& c) { return x / c; }},
      {"x * c", {1e-30f, 1e30f, kInf, kNaN}, [](const Tensor& x, const Tensor& c) { return x * c; }},
      {"x + c", {kInf, kNaN}, [](const Tensor& x, const Tensor& c) { return x + c; }},
      {"x - c", {kInf, kNaN}, [](const Tensor& x, const Tensor& c) { return x - c; }},
      {"c - x", {-kInf, kNaN}, [](const Tensor& x, const Tensor& c) { return c - x; }},
  };
  for (const auto& [name, senseless, function] : functions)
    for (const float number : senseless) {
      SCOPED_TRACE(str(name, ' ', number));
      NDArray numbers = NDArray::ones({8, 1, 1});
      numbers.data<float>()[3] = number;
      Between model([f = function, c = Tensor(numbers)](const Tensor& x) { return f(x, c); });
      const Graph graph = traced(model, {4, 3, 7, 6});
      EXPECT_EQ(as_convolutions(graph).nodes().size(), graph.nodes().size());
    }
}

TEST_F(PairsAndMoves, WhatMovesOrPicksIsDoneWithIntegers) {
  const Tensor index(NDArray::from_vector<int64_t>({5, 0, 0, 7, -1, 2, 3, 3}));
  const InterpolateOptions linear{.mode = "linear", .axes = {2, 3}, .scales = {2, 1.5}},
      nearest{.mode = "nearest", .axes = {2, 3}, .sizes = {9, 5}};
  const std::pair<const char*, OfOne> functions[] = {
      {"interpolate", [=](const Tensor& x) { return interpolate(x, linear); }},
      {"interpolate", [=](const Tensor& x) { return interpolate(x, nearest); }},
      {"upsample_nearest2d", [](const Tensor& x) { return upsample_nearest2d(x, 2); }},
      {"pad",
       [](const Tensor& x) {
         return pad(x, {1, 2, 2, 1}, PadMode::reflect);
       }},
      {"pad",
       [](const Tensor& x) {
         return pad(x, {1, 2, 2, 1}, PadMode::replicate);
       }},
      {"pad",
       [](const Tensor& x) {
         return pad(x, {1, 2, 2, 1});
       }},
      {"pad_same2d", [](const Tensor& x) { return pad_same2d(x, 3, {.stride = 2}); }},
      {"take", [=](const Tensor& x) { return take(x, index, 1); }},
      {"index_select",
       [=](const Tensor& x) {
         return index_select(x, 1, Tensor(NDArray::from_vector<int64_t>({7, 6, 5, 4, 3, 2, 1, 0})));
       }},
      {"tile",
       [](const Tensor& x) {
         return tile(x, {1, 1, 2, 3});
       }},
      {"chunk", [](const Tensor& x) { return chunk(x, 2, 2)[1]; }},
      {"slice", [](const Tensor& x) { return slice(x, 3, 5, -7, -1); }},
      {"stack",
       [](const Tensor& x) {
         return flatten(stack({x, x}, 3), 2, 3);
       }},
      {"broadcast_to",
       [](const Tensor& x) {
         return reshape(broadcast_to(unsqueeze(x, 2), {-1, -1, 3, -1, -1}), {-1, 8, 18, 6});
       }},
      {"pixel_unshuffle", [](const Tensor& x) { return pixel_shuffle(pixel_unshuffle(x, 2), 2); }},
  };
  for (const auto& [op, function] : functions) {
    SCOPED_TRACE(op);
    Between model(function);
    expect_all_integers(model, {4, 3, 6, 6}, 25);
    EXPECT_GE(result.count(op), 1) << result.graph.table();
    EXPECT_EQ(result.count("Requantize"), 0) << result.graph.table();
  }
}

// Cubics overshoot: what they give is in no integer's range. Where edges are excluded, an output may see no input.
TEST_F(PairsAndMoves, WhatIsNoMeanStaysFloat) {
  const InterpolateOptions cubic{.mode = "cubic", .axes = {2, 3}, .scales = {2, 2}},
      excluding{.mode = "linear",
                .axes = {2, 3},
                .scales = {0.4, 0.4},
                .coordinates = "tf_half_pixel_for_nn",
                .exclude_outside = true};
  for (const InterpolateOptions& options : {cubic, excluding}) {
    Between model([=](const Tensor& x) { return interpolate(x, options); });
    const Graph graph = traced(model, {2, 3, 5, 6});
    result = quantized(graph);
    EXPECT_EQ(result.layer("interpolate").reason, "it has no integer form");
    EXPECT_GT(sqnr(graph, result), 25);
  }
}

}  // namespace
}  // namespace thimble::quant
