#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/quant/reference.h"
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/pool.h>
#include <thimble/nn/graph/graph.h>
#include <thimble/nn/inference/step_list.h>
#include <thimble/quant/layers/quantized_ops.h>
#include <thimble/quant/layers/quantized_pool.h>

namespace thimble::quant {
namespace {

// Of every integer, as they lie and through a view, and of enough for several threads.
TEST(QuantizedClamp, KeepsIntegersWithinItsBoundsOnEveryMachine) {
  std::mt19937 rng(1);
  for (const auto& [low, high] : {std::pair(0, 255), std::pair(7, 255), std::pair(0, 3), std::pair(100, 100)}) {
    QuantizedClamp layer(low, high);
    for (const Shape& shape : {Shape{256}, Shape{3, 5, 4, 7}, Shape{1000003}, Shape{0, 4}, Shape{}}) {
      const NDArray x = random_bytes(shape, rng);
      auto expected = x.to_vector<int>();
      for (int& v : expected) v = std::clamp(v, low, high);
      on_every_machine([&, &bottom = low] {
        const Tensor y = layer(Tensor(x));
        EXPECT_EQ(y.dtype(), DType::uint8);
        EXPECT_EQ(y.shape(), shape) << bottom;
        EXPECT_EQ(y.data().to_vector<int>(), expected);
      });
    }
    const NDArray x = random_bytes({6, 4}, rng).transpose(0, 1);
    auto expected = x.to_vector<int>();
    for (int& v : expected) v = std::clamp(v, low, high);
    EXPECT_EQ(layer(Tensor(x)).data().to_vector<int>(), expected);
    EXPECT_EQ(nn::copy_layer(layer)->attributes(), layer.attributes());
  }
}

// As if through floats, but with one rounding.
TEST(Requantize, ChangesParametersOnEveryMachine) {
  std::mt19937 rng(3);
  const TensorQParams from{0.05f, 100, 8};
  for (const TensorQParams& to : {TensorQParams{0.05f, 100, 8}, {0.1f, 30, 8}, {0.02f, 128, 8}, {0.7f, 9, 4}}) {
    Requantize layer(from, to);
    for (const Shape& shape : {Shape{2, 3, 5, 7}, Shape{300001}, Shape{0, 2}}) {
      const NDArray x = random_bytes(shape, rng);
      auto expected = x.to_vector<double>();
      for (double& v : expected)
        v = std::clamp<double>(std::nearbyint((v - 100) * (double{from.scale} / double{to.scale})) + to.zero_point, 0,
                               to.qmax());
      on_every_machine([&] {
        const Tensor y = layer(Tensor(x));
        EXPECT_EQ(y.dtype(), DType::uint8);
        EXPECT_EQ(y.data().to_vector<double>(), expected);
      });
    }
    EXPECT_EQ(nn::copy_layer(layer)->attributes(), layer.attributes());
  }
  Requantize layer(from, from);
  EXPECT_THROW(layer(Tensor(NDArray::zeros({3}))), DTypeError);
  EXPECT_THROW(Requantize(from, {0.0f, 0, 8}), ValueError);
}

TEST(QuantizedClamp, RefusesWhatIsNoIntegerOrNoBound) {
  QuantizedClamp layer(1, 2);
  EXPECT_THROW(layer(Tensor(NDArray::zeros({3}))), DTypeError);
  EXPECT_THROW(layer(Tensor(NDArray::zeros({3}, DType::int8))), DTypeError);
  for (const auto& [low, high] : {std::pair(-1, 4), std::pair(3, 2), std::pair(0, 256)})
    EXPECT_THROW(QuantizedClamp(low, high), ValueError);
}

// Against the sum of what the integers stand for: half a step at most, and exactly within the bounds.
TEST(QuantizedAdd, IsTheRoundedSumOnEveryMachine) {
  std::mt19937 rng(2);
  for (int trial = 0; trial < 30; ++trial) {
    const auto params = [&](float scale) { return TensorQParams{scale, static_cast<int32_t>(rng() % 256), 8}; };
    const TensorQParams a = params(0.03f), b = params(0.05f), out = params(trial % 2 ? 0.06f : 0.02f);
    const bool relu = rng() % 2 == 0;
    QuantizedAdd layer(a, b, out, relu);
    const Shape shapes[][2] = {{{7, 33}, {7, 33}},
                               {{2, 3, 4, 5}, {2, 3, 4, 5}},
                               {{2, 3, 4, 5}, {1, 3, 1, 1}},
                               {{2, 3, 1, 1}, {2, 3, 4, 5}},
                               {{2, 3, 4, 5}, {2, 3, 1, 1}}};
    const auto& shape = shapes[trial % 5];
    const NDArray x = random_bytes(shape[0], rng), y = random_bytes(shape[1], rng);
    const auto floats = [](const NDArray& q, const TensorQParams& p) { return Dequantize(p)(Tensor(q)); };
    const Tensor sum = floats(x, a) + floats(y, b);
    const auto expected = sum.data().to_vector<double>();
    on_every_machine([&] {
      const Tensor q = layer(Tensor(x), Tensor(y));
      ASSERT_EQ(q.shape(), sum.shape());
      const auto got = q.data().to_vector<double>();
      const double low = relu ? 0 : -out.zero_point * double{out.scale};
      const double high = (255 - out.zero_point) * double{out.scale};
      for (size_t i = 0; i < got.size(); ++i) {
        const double value = (got[i] - out.zero_point) * double{out.scale};
        EXPECT_NEAR(value, std::clamp(expected[i], low, high), 0.501 * double{out.scale});
      }
    });
  }
}

TEST(QuantizedMul, IsTheRoundedProductOnEveryMachine) {
  std::mt19937 rng(4);
  for (int trial = 0; trial < 30; ++trial) {
    const auto params = [&](float scale) { return TensorQParams{scale, static_cast<int32_t>(rng() % 256), 8}; };
    const TensorQParams a = params(0.03f), b = params(0.05f), out = params(trial % 2 ? 0.2f : 0.01f);
    QuantizedMul layer(a, b, out);
    const Shape shapes[][2] = {{{7, 33}, {7, 33}},
                               {{2, 3, 4, 5}, {2, 3, 1, 1}},
                               {{2, 20, 1, 1}, {2, 20, 31, 33}},
                               {{1, 5000, 2, 1}, {1, 5000, 1, 1}},
                               {{3}, {2, 5, 3}}};
    const auto& shape = shapes[trial % 5];
    const NDArray x = random_bytes(shape[0], rng), y = random_bytes(shape[1], rng);
    const auto centered = [](const NDArray& q, const TensorQParams& p) {
      return Tensor(q.to(DType::float32)) - Tensor(NDArray::full({}, p.zero_point));
    };
    const Tensor product = centered(x, a) * centered(y, b);  // of integers, exact
    const auto scale = static_cast<float>(double{a.scale} * double{b.scale} / double{out.scale});
    auto expected = product.data().to_vector<float>();
    for (float& v : expected)
      v = std::clamp(std::nearbyint(v * scale) + static_cast<float>(out.zero_point), 0.0f, 255.0f);
    on_every_machine([&] {
      const Tensor q = layer(Tensor(x), Tensor(y));
      EXPECT_EQ(q.shape(), product.shape());
      EXPECT_EQ(q.data().to_vector<float>(), expected);
    });
    EXPECT_EQ(nn::copy_layer(layer)->attributes(), layer.attributes());
  }
  QuantizedMul layer({}, {}, {});
  EXPECT_THROW(layer(Tensor(NDArray::zeros({2}, DType::uint8)), Tensor(NDArray::zeros({2}))), DTypeError);
}

// What the float op makes of the numbers, quantized; operands of every form that is broadcast, in both orders.
template <typename Layer>
void expect_rounded_on_every_machine(Tensor (*op)(const Tensor&, const Tensor&)) {
  std::mt19937 rng(7);
  const Shape shapes[][2] = {{{7, 33}, {7, 33}},
                             {{2, 3, 4, 5}, {1, 3, 1, 1}},
                             {{2, 3, 4, 5}, {3, 1, 1}},
                             {{2, 20, 1, 1}, {2, 20, 31, 33}},
                             {{3, 40, 5, 4}, {40, 5, 4}},
                             {{2, 3, 4, 5}, {2, 1, 4, 5}},
                             {{3, 50, 97}, {97}},
                             {{3, 50, 97}, {1, 50, 1}},
                             {{4, 6000}, {6000}},
                             {{2, 5, 3}, {2, 1, 1}},
                             {{5, 1, 7}, {1, 6, 7}},
                             {{9}, {}},
                             {{2, 0, 3}, {3}}};
  for (const auto& shape : shapes)
    for (const bool turned : {false, true}) {
      SCOPED_TRACE(str(shape[0], ' ', shape[1], ' ', turned));
      const auto params = [&](float scale) { return TensorQParams{scale, static_cast<int32_t>(rng() % 256), 8}; };
      const TensorQParams a = params(0.03f), b = params(0.05f), out = params(0.04f);
      Layer layer(a, b, out);
      const NDArray x = random_bytes(shape[turned], rng), y = random_bytes(shape[!turned], rng);
      const auto in_units = [&](const NDArray& q, const TensorQParams& p) {
        const auto scale = static_cast<float>(double{p.scale} / double{out.scale});
        return (Tensor(q.to(DType::float32)) - Tensor(NDArray::full({}, p.zero_point))) *
               Tensor(NDArray::full({}, double{scale}));
      };
      const Tensor exact = op(in_units(x, a), in_units(y, b));
      auto expected = exact.data().to_vector<float>();
      for (float& v : expected) v = std::clamp(std::nearbyint(v) + static_cast<float>(out.zero_point), 0.0f, 255.0f);
      on_every_machine([&] {
        const Tensor q = layer(Tensor(x), Tensor(y));
        EXPECT_EQ(q.shape(), exact.shape());
        EXPECT_EQ(q.data().to_vector<float>(), expected);
      });
      EXPECT_EQ(nn::copy_layer(layer)->attributes(), layer.attributes());
      EXPECT_EQ(nn::copy_layer(layer)->type(), layer.type());
    }
  Layer layer({}, {}, {});
  EXPECT_THROW(layer(Tensor(NDArray::zeros({2}, DType::uint8)), Tensor(NDArray::zeros({2}))), DTypeError);
  EXPECT_THROW(Layer({1e30f, 0, 8}, {}, {1e-30f, 0, 8}), ValueError);
}

TEST(QuantizedSub, IsTheRoundedDifferenceOnEveryMachine) { expect_rounded_on_every_machine<QuantizedSub>(sub); }
TEST(QuantizedMaximum, IsTheRoundedLargerOneOnEveryMachine) {
  expect_rounded_on_every_machine<QuantizedMaximum>(maximum);
}
TEST(QuantizedMinimum, IsTheRoundedSmallerOneOnEveryMachine) {
  expect_rounded_on_every_machine<QuantizedMinimum>(minimum);
}

// A constant that is the same for all samples, or has one of each.
TEST(QuantizedPairs, ConstantsDivideBatchesWhereTheyMay) {
  std::mt19937 rng(8);
  for (const Shape& constant : {Shape{6, 1, 1}, Shape{1, 6, 1, 1}, Shape{1, 6, 4, 4}, Shape{4, 6, 1, 1}})
    for (const bool first : {false, true}) {
      SCOPED_TRACE(str(constant, ' ', first));
      nn::Graph graph;
      nn::Node* x = graph.add_input("x");
      nn::Node* c = graph.add_tensor("c", Tensor(random_bytes(constant, rng)));
      const auto layer = std::make_shared<QuantizedSub>(TensorQParams{0.1f, 7, 8}, TensorQParams{0.2f, 9, 8},
                                                        TensorQParams{0.15f, 100, 8});
      graph.set_output(graph.add_layer("y", layer, first ? std::vector{c, x} : std::vector{x, c}));
      graph.eval();
      const NDArray data = random_bytes({4, 6, 4, 4}, rng);
      const Tensor values(graph.tensor(c));
      const NoGrad guard;
      const auto expected =
          (first ? (*layer)(values, Tensor(data)) : (*layer)(Tensor(data), values)).data().to_vector<int>();
      on_every_machine([&] { EXPECT_EQ(graph(Tensor(data)).data().to_vector<int>(), expected); });
    }
}

TEST(QuantizedGlobalAvgPool2d, IsTheRoundedMeanOnEveryMachine) {
  std::mt19937 rng(6);
  const TensorQParams from{0.04f, 50, 8}, to{0.003f, 20, 8};
  QuantizedGlobalAvgPool2d layer(from, to);
  for (const Shape& shape : {Shape{3, 5, 4, 7}, Shape{1, 33, 1, 1}, Shape{2, 1, 9, 1}, Shape{0, 3, 2, 2}}) {
    const NDArray x = random_bytes(shape, rng);
    const auto q = x.to_vector<int>();
    std::vector<int> expected;
    const int64_t pixels = shape[2] * shape[3];
    for (int64_t i = 0; i < shape[0] * shape[1]; ++i) {
      int64_t sum = -pixels * from.zero_point;
      for (int64_t p = 0; p < pixels; ++p) sum += q[static_cast<size_t>(i * pixels + p)];
      const auto scale = static_cast<float>(double{from.scale} / (double{to.scale} * static_cast<double>(pixels)));
      const float v = std::nearbyint(static_cast<float>(sum) * scale) + static_cast<float>(to.zero_point);
      expected.push_back(static_cast<int>(std::clamp(v, 0.0f, 255.0f)));
    }
    on_every_machine([&] {
      const Tensor y = layer(Tensor(x));
      EXPECT_EQ(y.shape(), Shape({shape[0], shape[1], 1, 1}));
      EXPECT_EQ(y.data().to_vector<int>(), expected);
    });
  }
  EXPECT_EQ(nn::copy_layer(layer)->attributes(), layer.attributes());
  EXPECT_THROW(layer(Tensor(NDArray::zeros({2, 3, 0, 4}, DType::uint8))), ShapeError);
  // Scales whose quotient is infinite, times a sum of 0.
  QuantizedGlobalAvgPool2d far_apart({3e38f, 7, 8}, {2e-38f, 9, 8});
  const NDArray pixels = NDArray::from_vector<uint8_t>({7, 8, 6}, {3, 1, 1, 1});
  EXPECT_EQ(far_apart(Tensor(pixels)).data().to_vector<int>(), (std::vector<int>{0, 255, 0}));
}

TEST(QuantizedTable, GivesEachIntegerItsEntry) {
  std::mt19937 rng(5);
  const auto table = random_bytes({256}, rng).to_vector<uint8_t>();
  const QuantizedTable made(table);
  const auto layer = nn::copy_layer(made);
  for (const Shape& shape : {Shape{256}, Shape{2, 3, 5, 7}, Shape{200003}, Shape{0, 4}, Shape{}}) {
    const NDArray x = random_bytes(shape, rng);
    auto expected = x.to_vector<uint8_t>();
    for (uint8_t& v : expected) v = table[v];
    EXPECT_EQ((*layer)(Tensor(x)).data().to_vector<uint8_t>(), expected);
  }
  EXPECT_THROW(QuantizedTable(std::vector<uint8_t>(255)), ValueError);
}

// A permuted image, a part of a batch, one without gaps, and every second row, of which it takes a copy.
TEST(Quantize, ReadsViewsWhereTheyLie) {
  std::mt19937 rng(6);
  const struct {
    const char* op;
    Attributes attributes;
    size_t steps;
  } views[] = {
      {"permute", {{"axes", std::vector<int64_t>{0, 3, 1, 2}}}, 1},
      {"permute", {{"axes", std::vector<int64_t>{0, 2, 1, 3}}}, 2},
      {"slice", {{"axis", 0}, {"start", 1}, {"stop", 3}, {"step", 1}}, 1},
      {"slice", {{"axis", 2}, {"start", 0}, {"stop", 6}, {"step", 2}}, 2},
  };
  for (const auto& view : views) {
    SCOPED_TRACE(view.op);
    nn::Graph graph;
    nn::Node* moved = graph.add_op("view", view.op, view.attributes, {graph.add_input("x")});
    const auto layer = std::make_shared<Quantize>(TensorQParams{0.02f, 100, 8});
    graph.set_output(graph.add_layer("q", layer, {moved}));
    graph.eval();
    const Tensor x = random_normal({4, 6, 6, 5}, rng);
    nn::SharedState shared;
    EXPECT_EQ(make_steps(graph, {nn::ValueInfo{x.shape()}}, shared).steps.size(), view.steps);
    const NoGrad guard;
    const Tensor expected = (*layer)(op_factory(view.op)(view.attributes)->compute(std::vector{x.data()}));
    EXPECT_EQ(graph(x).data().to_vector<int>(), expected.data().to_vector<int>());
  }
}

// An input's images of few channels, of which it makes pixels itself. Others are laid out as pixels before.
TEST(Quantize, ReadsPlanesOfImages) {
  std::mt19937 rng(7);
  const std::vector<int64_t> one{1, 1}, two{2, 2};
  const Attributes pool{{"kernel_size", two},
                        {"stride", two},
                        {"padding", std::vector<int64_t>{0, 0}},
                        {"dilation", one},
                        {"ceil_mode", false}};
  for (const int64_t channels : {1, 2, 3, 4, 5}) {
    for (const bool has_other_readers : {false, true}) {
      SCOPED_TRACE(channels);
      nn::Graph graph;
      nn::Node* input = graph.add_input("x");
      const auto layer = std::make_shared<Quantize>(TensorQParams{0.02f, 100, 8});
      nn::Node* integers = graph.add_layer("q", layer, {input});
      nn::Node* pooled = graph.add_op("pooled", "max_pool2d", pool, {integers});
      std::vector<nn::GraphOutput> outputs{{"pooled", pooled}};
      if (has_other_readers) outputs.push_back({"floats", graph.add_op("floats", "relu", {}, {input})});
      graph.set_outputs(outputs);
      graph.eval();
      const Tensor x = random_normal({3, channels, 6, 10}, rng);
      nn::SharedState shared;
      const nn::StepList list = make_steps(graph, {nn::ValueInfo{x.shape()}}, shared);
      const bool reads_planes = !list.values[list.inputs[0].value].info.strides.empty();
      EXPECT_EQ(reads_planes, channels >= 2 && channels <= 4 && !has_other_readers);
      const NoGrad guard;
      const std::vector<int> expected = max_pool2d((*layer)(x), 2).data().to_vector<int>();
      const Tensor channels_last(x.data().permute({0, 2, 3, 1}).contiguous().permute({0, 3, 1, 2}));
      on_every_machine([&] {
        EXPECT_EQ(graph.call_outputs(std::vector{x})[0].data().to_vector<int>(), expected);
        EXPECT_EQ(graph.call_outputs(std::vector{channels_last})[0].data().to_vector<int>(), expected);
      });
    }
  }
}

TEST(QuantizedAdd, RefusesWrongInputs) {
  QuantizedAdd layer({}, {}, {}, false);
  const Tensor x = NDArray::zeros({2, 3}, DType::uint8);
  EXPECT_THROW(layer(x), ValueError);
  EXPECT_THROW(layer(x, Tensor(NDArray::zeros({2, 3}))), DTypeError);
  EXPECT_THROW(layer(x, Tensor(NDArray::zeros({2, 2}, DType::uint8))), ShapeError);
}

}  // namespace
}  // namespace thimble::quant
