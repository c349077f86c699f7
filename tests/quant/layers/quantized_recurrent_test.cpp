// QuantizedRecurrent against a reference, bit for bit, and against the float layers.
#include <limits>
#include <memory>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/quant/layers/recurrent_reference.h"
#include <thimble/core/ops.h>
#include <thimble/core/random.h>
#include <thimble/quant/layers/quantized_ops.h>

namespace thimble::quant {
namespace {

using nn::RecurrentLayer;
using Options = RecurrentLayer::Options;
using Rows = std::vector<std::vector<float>>;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

constexpr int64_t kIn = 5;

std::vector<std::shared_ptr<RecurrentLayer>> float_layers(int64_t hidden, const Options& o) {
  manual_seed(3);
  const auto rnn = [&](nn::Nonlinearity f) {
    return std::make_shared<nn::RNN>(
        kIn, hidden, nn::RNN::Options{o.num_layers, f, o.bias, o.batch_first, o.dropout, o.bidirectional});
  };
  return {std::make_shared<nn::LSTM>(kIn, hidden, o), std::make_shared<nn::GRU>(kIn, hidden, o),
          rnn(nn::Nonlinearity::tanh), rnn(nn::Nonlinearity::relu)};
}

std::vector<float> floats_of(const Tensor& t) { return t.data().to_vector<float>(); }

// Of x [n, steps, kIn] and, if there are any, states [rows, n, hidden] and lengths: what the layer gives of each
// sample, [n, steps (and states), width], as the reference says.
std::vector<float> reference_of(const QuantizedRecurrent& layer, const NDArray& x, const NDArray& h0, const NDArray& c0,
                                const std::vector<int64_t>& lengths) {
  const auto n = static_cast<size_t>(x.shape(0)), steps = static_cast<size_t>(x.shape(1));
  const auto rows = static_cast<size_t>(layer.config().num_layers * layer.num_directions());
  const auto hidden = static_cast<size_t>(layer.config().hidden_size);
  const auto xs = x.to_vector<float>();
  const auto state_of = [&](const NDArray& all, size_t i) {
    Rows state(rows, std::vector<float>(hidden));
    const auto values = all.defined() ? all.to_vector<float>() : std::vector<float>(rows * n * hidden);
    for (size_t r = 0; r < rows; ++r)
      std::copy_n(values.begin() + static_cast<std::ptrdiff_t>((r * n + i) * hidden), hidden, state[r].begin());
    return state;
  };
  std::vector<float> all;
  for (size_t i = 0; i < n; ++i) {
    Rows sample;
    for (size_t t = 0; t < steps; ++t) {
      const auto row = xs.begin() + static_cast<std::ptrdiff_t>((i * steps + t) * kIn);
      sample.emplace_back(row, row + kIn);
    }
    Rows h = state_of(h0, i), c = state_of(c0, i);
    const size_t length = lengths.empty() ? steps : static_cast<size_t>(lengths[i]);
    Rows y = RecurrentReference(layer).run(sample, length, h, c);
    if (h0.defined())
      for (const Rows* state : {&h, &c})
        if (state == &h || layer.type() == "QuantizedLSTM") y.insert(y.end(), state->begin(), state->end());
    for (const auto& row : y) all.insert(all.end(), row.begin(), row.end());
  }
  return all;
}

// Parameters of the range of x, which quantizing x and taking it back does not change.
TensorQParams grid_of(const NDArray& x) { return TensorQParams::from(choose_qparams(x)); }

TEST(QuantizedRecurrent, IsTheReferenceOnEveryMachine) {
  std::mt19937 rng(1);
  for (const int64_t hidden : {1, 7, 40})
    for (const Options& o : {Options{.batch_first = true},
                             Options{.num_layers = 2, .bias = false, .batch_first = true, .bidirectional = true}})
      for (const auto& layer : float_layers(hidden, o))
        for (const int64_t n : {1, 3, 70})
          for (const bool is_static : {false, true}) {
            if (hidden != 7 && n == 70) continue;
            SCOPED_TRACE(str(layer->type(), ' ', hidden, ' ', n, ' ', is_static, ' ', o.num_layers));
            const NDArray x = random_normal({n, 6, kIn}, rng);
            QuantizedRecurrent::Quantization q{.activation_bits = n == 3 ? 6 : 8};
            q.weight.spec.bits = hidden == 7 ? 4 : 8;
            if (is_static) q.input = grid_of(x);
            const auto quantized = QuantizedRecurrent::from_float(*layer, q);
            const Tensor input = is_static ? Quantize(*q.input)(Tensor(x)) : Tensor(x);
            const auto expected = reference_of(*quantized, x, {}, {}, {});
            on_every_machine([&] { EXPECT_EQ(floats_of((*quantized)(input)), expected); });
          }
}

// Some of which are larger than 1.
TEST(QuantizedRecurrent, BeginsWithStatesAndEndsWhereSequencesDo) {
  std::mt19937 rng(2);
  const int64_t n = 4, hidden = 6, rows = 4;
  const NDArray x = random_normal({n, 5, kIn}, rng), c0 = random_normal({rows, n, hidden}, rng);
  NDArray h0 = random_normal({rows, n, hidden}, rng, 0.3f);
  h0.data<float>()[0] = 3;
  const std::vector<int64_t> lengths{5, 0, 3, 1};
  for (const auto& layer : float_layers(hidden, {.num_layers = 2, .batch_first = true})) {
    SCOPED_TRACE(layer->type());
    const auto quantized = QuantizedRecurrent::from_float(*layer, {});
    std::vector<Tensor> inputs{x, h0.slice(0, 0, 2).contiguous()};
    if (layer->type() == "LSTM") inputs.emplace_back(c0.slice(0, 0, 2).contiguous());
    inputs.emplace_back(NDArray::from_vector(lengths));
    const auto expected = reference_of(*quantized, x, inputs[1].data(), c0.slice(0, 0, 2).contiguous(), lengths);
    on_every_machine([&] { EXPECT_EQ(floats_of(quantized->call(inputs)), expected); });
  }
}

TEST(QuantizedRecurrent, OneRowOfStatesIsForAllSamples) {
  std::mt19937 rng(8);
  const NDArray x = random_normal({4, 3, kIn}, rng), h = random_normal({2, 1, 6}, rng);
  const NDArray all = broadcast_to(Tensor(h), {2, 3, 6}).data().contiguous();
  for (const auto& layer : float_layers(6, {.bidirectional = true})) {
    const auto quantized = QuantizedRecurrent::from_float(*layer, {});
    std::vector<Tensor> one{x, h}, each{x, all};
    if (layer->type() == "LSTM") {
      one.emplace_back(h);
      each.emplace_back(all);
    }
    EXPECT_EQ(floats_of(quantized->call(one)), floats_of(quantized->call(each))) << layer->type();
  }
}

TEST(QuantizedRecurrent, OfABatchIsThatOfEachSample) {
  std::mt19937 rng(3);
  const Tensor x = random_normal({6, 9, kIn}, rng);
  for (const auto& layer : float_layers(16, {.num_layers = 2, .bidirectional = true})) {
    const auto quantized = QuantizedRecurrent::from_float(*layer, {});
    const Tensor y = (*quantized)(x);
    for (int64_t i = 0; i < 9; ++i)
      EXPECT_EQ(floats_of((*quantized)(slice(x, 1, i, i + 1))), floats_of(slice(y, 1, i, i + 1))) << layer->type() << i;
  }
}

TEST(QuantizedRecurrent, IsNearTheFloatLayer) {
  std::mt19937 rng(4);
  const Tensor x = random_normal({8, 20, kIn}, rng);
  for (const auto& layer : float_layers(64, {.num_layers = 2, .batch_first = true, .bidirectional = true})) {
    layer->eval();
    const Tensor y = (*layer)(x), q = (*QuantizedRecurrent::from_float(*layer, {}))(x);
    const double error = std::sqrt(mean((q - y) * (q - y)).item<double>() / mean(y * y).item<double>());
    EXPECT_LT(error, 0.02) << layer->type();
    EXPECT_GT(error, 0) << layer->type();
  }
}

// The outputs' own integers, zeros where there is nothing.
TEST(QuantizedRecurrent, GivesIntegersOfItsOutput) {
  std::mt19937 rng(5);
  const Tensor x = random_normal({3, 7, kIn}, rng);
  for (const auto& layer : float_layers(9, {.num_layers = 2, .batch_first = true, .bidirectional = true})) {
    const auto floats = QuantizedRecurrent::from_float(*layer, {});
    const Tensor y = (*floats)(x);
    const TensorQParams grid = grid_of(y.data());
    const auto integers = QuantizedRecurrent::from_float(*layer, {.output = grid});
    const auto expected = Quantize(grid)(y).data().to_vector<uint8_t>();
    on_every_machine([&] { EXPECT_EQ((*integers)(x).data().to_vector<uint8_t>(), expected) << layer->type(); });
  }
}

// From the step on that has it; other samples stay what they are.
TEST(QuantizedRecurrent, WhatIsNotFiniteIsNaNFromThereOn) {
  std::mt19937 rng(6);
  const NDArray good = random_normal({2, 6, kIn}, rng);
  for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()})
    for (const auto& layer : float_layers(4, {.num_layers = 2, .batch_first = true})) {
      const auto quantized = QuantizedRecurrent::from_float(*layer, {});
      NDArray x = good.clone();
      x.data<float>()[2 * kIn + 1] = bad;  // sample 0, step 2
      const auto was = floats_of((*quantized)(Tensor(good)));
      on_every_machine([&] {
        const auto y = floats_of((*quantized)(Tensor(x)));
        for (size_t i = 0; i < y.size(); ++i) {
          const bool is_nan = i >= 2 * 4 && i < 6 * 4;
          ASSERT_EQ(std::isnan(y[i]), is_nan) << layer->type() << ' ' << i;
          ASSERT_TRUE(is_nan || y[i] == was[i]) << layer->type() << ' ' << i;
        }
      });
    }
}

TEST(QuantizedRecurrent, TakesNoStepsAndNoSamples) {
  const auto quantized = QuantizedRecurrent::from_float(nn::LSTM(kIn, 4), {});
  EXPECT_EQ((*quantized)(Tensor(NDArray::zeros({0, 2, kIn}))).shape(), (Shape{0, 2, 4}));
  EXPECT_EQ((*quantized)(Tensor(NDArray::zeros({3, 0, kIn}))).shape(), (Shape{3, 0, 4}));
}

TEST(QuantizedRecurrent, IsMadeAgainOfItsAttributesAndState) {
  std::mt19937 rng(7);
  const Tensor x = random_normal({4, 3, kIn}, rng);
  for (const auto& layer : float_layers(6, {.num_layers = 2, .bidirectional = true})) {
    const auto quantized = QuantizedRecurrent::from_float(*layer, {.activation_bits = 7});
    const auto copy = nn::copy_layer(*quantized);
    EXPECT_EQ(copy->type(), "Quantized" + layer->type());
    EXPECT_EQ(copy->attributes(), quantized->attributes());
    EXPECT_EQ(floats_of((*copy)(x)), floats_of((*quantized)(x)));
  }
}

TEST(QuantizedRecurrent, SaysWhatItCannotTake) {
  const auto quantized = QuantizedRecurrent::from_float(nn::GRU(kIn, 4), {});
  const auto of = [&](std::vector<Tensor> inputs) { return [&quantized, inputs] { (void)quantized->call(inputs); }; };
  const Tensor x = NDArray::zeros({2, 3, kIn}), h = NDArray::zeros({1, 3, 4});
  EXPECT_THAT(of({Tensor(NDArray::zeros({2, 3, 4}))}), ThrowsMessage<ShapeError>(HasSubstr("expects x [steps, n, 5]")));
  EXPECT_THAT(of({Tensor(NDArray::zeros({2, 3, kIn}, DType::uint8))}),
              ThrowsMessage<DTypeError>(HasSubstr("expects float32 input")));
  EXPECT_THAT(of({x, x}), ThrowsMessage<ShapeError>(HasSubstr("h must be [1, 3 or 1, 4]")));
  EXPECT_THAT(of({x, h, h, h}), ThrowsMessage<ValueError>(HasSubstr("got 4 inputs")));
  EXPECT_THAT(of({x, h, Tensor(NDArray::from_vector<int64_t>({1, 2}))}),
              ThrowsMessage<ShapeError>(HasSubstr("lengths must be [3]")));
  EXPECT_THAT(of({x, h, Tensor(NDArray::from_vector<int64_t>({1, 2, 3}))}),
              ThrowsMessage<ValueError>(HasSubstr("a length is 3, expected 0 to 2")));
  EXPECT_THAT([] { QuantizedRecurrent({.input_size = 70000, .hidden_size = 4}); },
              ThrowsMessage<ValueError>(HasSubstr("input_size 70000 is not from 1 to 65536")));
  EXPECT_THAT(
      [] { QuantizedRecurrent({.input_size = 4, .hidden_size = 40000, .num_layers = 2, .bidirectional = true}); },
      ThrowsMessage<ValueError>(HasSubstr("sums are of at most")));
  const QuantizedRecurrent empty({.input_size = 4, .hidden_size = 3});
  EXPECT_EQ(empty.type(), "QuantizedLSTM");
}

}  // namespace
}  // namespace thimble::quant
