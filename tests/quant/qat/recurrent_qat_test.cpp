// Recurrent layers, trained for quantization.
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/quant/reference.h"
#include <thimble/core/ops.h>
#include <thimble/core/random.h>
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/nn/training/optim/optimizer.h>
#include <thimble/quant/layers/quantized_recurrent.h>
#include <thimble/quant/qat/qat.h>
#include <thimble/quant/qat/qat_recurrent.h>

namespace thimble::quant {
namespace {

using nn::Graph;
using nn::RecurrentLayer;

template <typename Layer>
struct RowNet : nn::Module {
  nn::Submodule<Layer> rows{this, "rows", 6, 8, {.num_layers = 2, .batch_first = true, .bidirectional = true}};
  nn::Submodule<nn::Linear> fc{this, "fc", 16, 3};
  Tensor forward(const Tensor& x) override { return fc(rows(x)); }
};

std::vector<float> floats(const Tensor& t) { return t.data().to_vector<float>(); }

template <typename Layer>
class RecurrentQAT : public testing::Test {
 protected:
  RecurrentQAT() {
    manual_seed(5);
    std::mt19937 rng(2);
    x = random_normal({4, 5, 6}, rng);
    target = random_normal({4, 5, 3}, rng, 0.3f);
    RowNet<Layer> net;
    graph = nn::trace(net.eval(), x);
  }

  static RecurrentLayer& rows_of(const Graph& g) { return *g.layer_as<RecurrentLayer>(g.find("rows")); }

  Tensor loss_of(Graph& g) const {
    const Tensor e = g(x) - target;
    return mean(e * e);
  }

  // Some steps of training, as losses.
  std::vector<double> train(Graph& g) const {
    optim::Adam adam(g.parameters(), {.lr = 0.01});
    std::vector<double> losses;
    for (int i = 0; i < 20; ++i) {
      adam.zero_grad();
      const Tensor loss = loss_of(g);
      loss.backward();
      adam.step();
      losses.push_back(loss.item<double>());
    }
    return losses;
  }

  Tensor x, target;
  Graph graph;
};

using Layers = testing::Types<nn::LSTM, nn::GRU, nn::RNN>;
TYPED_TEST_SUITE(RecurrentQAT, Layers);

TYPED_TEST(RecurrentQAT, TrainsRoundedWeightsAndConvertsToThem) {
  for (const bool learned : {false, true}) {
    Graph prepared = prepare_qat(this->graph, QConfigMapping::static_int8(), {.learned_step_size = learned});
    RecurrentLayer& trained = this->rows_of(prepared);
    EXPECT_EQ(trained.type(), "QAT" + this->rows_of(this->graph).type());
    const auto losses = this->train(prepared);
    EXPECT_LT(losses.back(), 0.9 * losses.front()) << learned;
    disable_observer(prepared);
    prepared.eval();
    const std::vector<QParams> qparams = dynamic_cast<QATRecurrent&>(trained).weight_qparams();
    ConversionReport report;
    Graph integers = convert(prepared, &report);
    for (const LayerReport& entry : report) EXPECT_FALSE(entry.kept_float) << entry.name;
    const auto& converted = *integers.layer_as<QuantizedRecurrent>(integers.find("rows"));
    for (int64_t l = 0; l < 2; ++l)
      for (int64_t d = 0; d < 2; ++d) {
        const auto at = static_cast<size_t>(2 * (2 * l + d));
        const auto& from = trained.weights(l, d == 1);
        const auto& to = converted.weights(l, d == 1);
        EXPECT_EQ(to.ih.values().data().template to_vector<int>(),
                  quantize(from.ih.data(), qparams[at]).template to_vector<int>());
        EXPECT_EQ(to.hh.values().data().template to_vector<int>(),
                  quantize(from.hh.data(), qparams[at + 1]).template to_vector<int>());
      }
    const NoGrad guard;
    const Tensor y = prepared(this->x), e = integers(this->x) - y;
    EXPECT_LT(std::sqrt(mean(e * e).template item<double>() / mean(y * y).template item<double>()), 0.03) << learned;
  }
}

// Gradients pass straight through the rounding: they are those of a float layer of the rounded weights.
TYPED_TEST(RecurrentQAT, GradientsAreThoseAtTheRoundedWeights) {
  TypeParam layer(6, 4, {.batch_first = true, .bidirectional = true}),
      rounded(6, 4, {.batch_first = true, .bidirectional = true});
  const QuantizationSpec spec = QuantizationSpec::per_channel_weight(4);
  const auto trained = qat_recurrent(layer, spec, /*learned=*/false);
  NamedArrays state;
  for (const auto& [name, tensor] : layer.state()) {
    const NDArray values = tensor.data();
    const bool is_weight = name.starts_with("weight");
    state.emplace_back(
        name, is_weight ? dequantize(quantize(values, choose_qparams(values, spec)), choose_qparams(values, spec))
                        : values.clone());
  }
  rounded.load_state(state);
  trained->train();
  const Tensor y = (*trained)(this->x), expected = rounded(this->x);
  EXPECT_EQ(floats(y), floats(expected));
  std::vector<Tensor> own, others;
  for (const auto& [name, parameter] : rounded.named_parameters()) {
    others.push_back(parameter);
    for (const auto& [twin, tensor] : trained->named_parameters())
      if (twin == name) own.push_back(tensor);
  }
  ASSERT_EQ(own.size(), others.size());
  const auto a = grad(sum(y * y), own), b = grad(sum(expected * expected), others);
  for (size_t i = 0; i < a.size(); ++i) EXPECT_EQ(floats(a[i]), floats(b[i])) << i;
}

TYPED_TEST(RecurrentQAT, IsMadeAgainOfItsAttributesAndState) {
  Graph prepared = prepare_qat(this->graph, QConfigMapping::static_int8(), {});
  (void)this->train(prepared);
  disable_observer(prepared);
  prepared.eval();
  const RecurrentLayer& layer = this->rows_of(prepared);
  const auto copy = nn::copy_layer(layer);
  EXPECT_EQ(copy->attributes(), layer.attributes());
  EXPECT_EQ(copy->type(), layer.type());
  Graph again = prepared.clone();
  EXPECT_EQ(floats(again(this->x)), floats(prepared(this->x)));
}

TYPED_TEST(RecurrentQAT, WithoutRoundingItIsTheFloatLayer) {
  Graph prepared = prepare_qat(this->graph, QConfigMapping::static_int8(), {});
  disable_fake_quant(prepared);
  prepared.eval();
  const NoGrad guard;
  const auto got = floats(prepared(this->x)), expected = floats(this->graph(this->x));
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-5) << i;
}

TEST(RecurrentQATLayers, WhatIsFrozenStaysFrozen) {
  nn::LSTM lstm(3, 2);
  Tensor frozen = lstm.weights(0).hh;
  frozen.set_requires_grad(false);
  const auto trained = qat_recurrent(lstm, QuantizationSpec::per_channel_weight(), false);
  const auto& weights = dynamic_cast<const RecurrentLayer&>(*trained).weights(0);
  EXPECT_FALSE(weights.hh.requires_grad());
  EXPECT_TRUE(weights.ih.requires_grad());
  EXPECT_THROW(
      (void)qat_recurrent(
          lstm, {.bits = 8, .is_signed = true, .scheme = QScheme::symmetric, .axis = 0, .group_size = 2}, false),
      ValueError);
}

}  // namespace
}  // namespace thimble::quant
