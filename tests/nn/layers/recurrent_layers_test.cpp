// LSTM, GRU and RNN as layers: against PyTorch, traced, in the executor, and what they refuse.
#include <array>
#include <cmath>
#include <fstream>
#include <limits>
#include <memory>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/nn/random_input.h"
#include <thimble/core/ops.h>
#include <thimble/core/parallel.h>
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/inference/batched_program.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/nn/layers/recurrent.h>

namespace thimble::nn {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

std::vector<float> values_of(const Tensor& t) { return t.data().to_vector<float>(); }

NDArray array_of_case(const json& j) {
  return NDArray::from_vector(j.at("values").get<std::vector<float>>(),
                              Shape(j.at("shape").get<std::vector<int64_t>>()));
}

void expect_near_case(const Tensor& got, const json& expected, const std::string& what) {
  const NDArray e = array_of_case(expected);
  ASSERT_EQ(got.shape(), e.shape()) << what;
  const auto g = values_of(got), v = e.to_vector<float>();
  for (size_t i = 0; i < v.size(); ++i) EXPECT_NEAR(g[i], v[i], 1e-5 * (1 + std::abs(v[i]))) << what << ' ' << i;
}

std::shared_ptr<RecurrentLayer> layer_of(const json& c) {
  const json& o = c.at("options");
  const RecurrentLayer::Options options{.num_layers = o.value("num_layers", 1),
                                        .bias = o.value("bias", true),
                                        .batch_first = o.value("batch_first", false),
                                        .bidirectional = o.value("bidirectional", false)};
  if (c.at("kind") == "LSTM") return std::make_shared<LSTM>(3, 2, options);
  if (c.at("kind") == "GRU") return std::make_shared<GRU>(3, 2, options);
  const bool is_relu = o.value("nonlinearity", "tanh") == "relu";
  return std::make_shared<RNN>(3, 2,
                               RNN::Options{.num_layers = options.num_layers,
                                            .nonlinearity = is_relu ? Nonlinearity::relu : Nonlinearity::tanh,
                                            .bias = options.bias,
                                            .batch_first = options.batch_first,
                                            .bidirectional = options.bidirectional});
}

std::vector<Tensor> outputs_of(const RecurrentOutput& y) {
  std::vector<Tensor> all{y.output, y.h_n};
  if (y.c_n.defined()) all.push_back(y.c_n);
  return all;
}

void expect_agreement_with(const json& c) {
  const auto layer = layer_of(c);
  NamedArrays parameters;
  for (const auto& [name, value] : c.at("parameters").items()) parameters.emplace_back(name, array_of_case(value));
  layer->load_state(parameters);
  std::vector<Tensor> inputs{Tensor(array_of_case(c.at("x")), true)};
  for (const json& s : c.at("state")) inputs.emplace_back(array_of_case(s), true);
  RecurrentState state{inputs.size() > 1 ? inputs[1] : Tensor(), inputs.size() > 2 ? inputs[2] : Tensor()};
  Tensor lengths;
  if (!c.at("lengths").is_null()) lengths = NDArray::from_vector(c.at("lengths").get<std::vector<int64_t>>());
  const std::vector<Tensor> outputs = outputs_of(layer->run(inputs[0], state, lengths));
  Tensor weighted = NDArray::zeros({});
  ASSERT_EQ(outputs.size(), c.at("outputs").size());
  for (size_t i = 0; i < outputs.size(); ++i) {
    expect_near_case(outputs[i], c.at("outputs").at(i), str("output ", i));
    weighted = weighted + sum(outputs[i] * Tensor(array_of_case(c.at("out_grads").at(i))));
  }
  for (const Tensor& p : layer->parameters()) inputs.push_back(p);
  const auto grads = grad(weighted, inputs);
  ASSERT_EQ(grads.size(), c.at("grads").size());
  for (size_t i = 0; i < grads.size(); ++i) expect_near_case(grads[i], c.at("grads").at(i), str("gradient ", i));
}

TEST(RecurrentLayers, AgreeWithPyTorch) {
  std::ifstream file(THIMBLE_TEST_DATA "/torch_recurrent_cases.json");
  const json cases = json::parse(file).at("cases");
  ASSERT_GE(cases.size(), 16u);
  for (const json& c : cases) {
    SCOPED_TRACE(c.at("kind").get<std::string>() + ' ' + c.at("options").dump() + " lengths " + c.at("lengths").dump());
    expect_agreement_with(c);
  }
}

// A layer of each kind, of several layers and both directions.
std::vector<std::shared_ptr<RecurrentLayer>> layers_of_each_kind(const RecurrentLayer::Options& o, int64_t in = 5,
                                                                 int64_t hidden = 4) {
  return {std::make_shared<LSTM>(in, hidden, o), std::make_shared<GRU>(in, hidden, o),
          std::make_shared<RNN>(
              in, hidden,
              RNN::Options{o.num_layers, Nonlinearity::relu, o.bias, o.batch_first, o.dropout, o.bidirectional})};
}

const RecurrentLayer::Options kDeep{.num_layers = 2, .bidirectional = true};
const RecurrentLayer::Options kDeepBatchFirst{.num_layers = 2, .batch_first = true, .bidirectional = true};

TEST(RecurrentLayers, ParametersAreNamedAndInitializedAsInPyTorch) {
  const LSTM lstm(3, 16, {.num_layers = 2, .bidirectional = true});
  std::vector<std::string> names;
  for (const auto& [name, tensor] : lstm.named_parameters()) {
    names.push_back(name);
    double largest = 0;
    for (const float v : values_of(tensor)) largest = std::max(largest, std::abs(double{v}));
    EXPECT_LE(largest, 0.25) << name;
    EXPECT_GT(largest, 0.2) << name;
  }
  EXPECT_THAT(names, ElementsAre("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "weight_ih_l0_reverse",
                                 "weight_hh_l0_reverse", "bias_ih_l0_reverse", "bias_hh_l0_reverse", "weight_ih_l1",
                                 "weight_hh_l1", "bias_ih_l1", "bias_hh_l1", "weight_ih_l1_reverse",
                                 "weight_hh_l1_reverse", "bias_ih_l1_reverse", "bias_hh_l1_reverse"));
  EXPECT_EQ(lstm.weights(1, true).ih.shape(), (Shape{64, 32}));
  EXPECT_EQ(GRU(3, 4, {.bias = false}).state().size(), 2u);
}

TEST(RecurrentLayers, OfOneInputGiveTheOutputsOfRun) {
  for (const auto& options : {kDeep, kDeepBatchFirst})
    for (const auto& layer : layers_of_each_kind(options)) {
      SCOPED_TRACE(layer->type());
      const Tensor x = random({3, 6, 5});
      EXPECT_EQ(values_of((*layer)(x)), values_of(layer->run(x).output));
    }
}

TEST(RecurrentLayers, OneRowOfStatesIsForAllSamples) {
  LSTM lstm(5, 4, kDeep);
  const Tensor x = random({3, 2, 5}), h = random({4, 1, 4}, 1), c = random({4, 1, 4}, 2);
  const RecurrentOutput one = lstm.run(x, {h, c});
  const RecurrentOutput all = lstm.run(x, {broadcast_to(h, {4, 2, 4}), broadcast_to(c, {4, 2, 4})});
  EXPECT_EQ(values_of(one.output), values_of(all.output));
  EXPECT_EQ(values_of(one.c_n), values_of(all.c_n));
}

TEST(RecurrentLayers, GoOnFromTheirStates) {
  for (const auto& layer : layers_of_each_kind({.num_layers = 2})) {
    SCOPED_TRACE(layer->type());
    const Tensor x = random({6, 2, 5});
    const RecurrentOutput whole = layer->run(x), first = layer->run(slice(x, 0, 0, 4));
    const RecurrentOutput rest = layer->run(slice(x, 0, 4, 6), {first.h_n, first.c_n});
    EXPECT_EQ(values_of(rest.output), values_of(slice(whole.output, 0, 4, 6)));
    EXPECT_EQ(values_of(rest.h_n), values_of(whole.h_n));
  }
}

TEST(RecurrentLayers, DropoutIsBetweenLayersAndInTrainingAlone) {
  const Tensor x = random({3, 2, 5});
  const RecurrentLayer::Options options{.num_layers = 2, .dropout = 1};
  RecurrentLayer::Options without = options;
  without.dropout = 0;
  for (size_t kind = 0; kind < 3; ++kind) {
    const auto layer = layers_of_each_kind(options)[kind], twin = layers_of_each_kind(without)[kind];
    SCOPED_TRACE(layer->type());
    twin->load_state(layer->state());
    const auto expected = outputs_of(twin->run(x)), dropped = outputs_of(layer->run(x));
    // The first layer's state is as it was, the second layer's input is 0.
    EXPECT_EQ(values_of(slice(dropped[1], 0, 0, 1)), values_of(slice(expected[1], 0, 0, 1)));
    EXPECT_NE(values_of(dropped[0]), values_of(expected[0]));
    layer->eval();
    EXPECT_EQ(values_of(layer->run(x).output), values_of(expected[0]));
  }
}

TEST(RecurrentLayers, LengthsHideWhatLiesBehind) {
  for (const auto& layer : layers_of_each_kind(kDeepBatchFirst)) {
    SCOPED_TRACE(layer->type());
    const Tensor x = random({3, 6, 5}), lengths = NDArray::from_vector<int64_t>({6, 2, 0});
    const RecurrentOutput y = layer->run(x, {}, lengths);
    const RecurrentOutput alone = layer->run(slice(slice(x, 0, 1, 2), 1, 0, 2));
    EXPECT_EQ(values_of(slice(slice(y.output, 0, 1, 2), 1, 0, 2)), values_of(alone.output));
    EXPECT_EQ(values_of(slice(y.h_n, 1, 1, 2)), values_of(alone.h_n));
    for (const float v : values_of(slice(slice(y.output, 0, 1, 2), 1, 2, 6))) EXPECT_EQ(v, 0);
    for (const float v : values_of(slice(y.h_n, 1, 2, 3))) EXPECT_EQ(v, 0);
  }
}

TEST(RecurrentLayers, WhatLiesBehindAnEndMayBeAnything) {
  for (const auto& layer : layers_of_each_kind(kDeepBatchFirst)) {
    SCOPED_TRACE(layer->type());
    const Tensor lengths = NDArray::from_vector<int64_t>({6, 2, 0});
    const auto gradients_with = [&](float behind) {
      NDArray x = random({3, 6, 5}).data().clone();
      for (int64_t row = 0; row < 3; ++row)
        for (int64_t t = lengths.data().data<int64_t>()[row]; t < 6; ++t)
          std::fill_n(x.data<float>() + (row * 6 + t) * 5, 5, behind);
      for (const Tensor& parameter : layer->parameters()) parameter.set_grad(Tensor());
      const RecurrentOutput y = layer->run(Tensor(x), {}, lengths);
      sum(y.output * y.output).backward();
      std::vector<float> all;
      for (const Tensor& parameter : layer->parameters())
        for (const float g : parameter.grad().data().to_vector<float>()) all.push_back(g);
      return all;
    };
    EXPECT_EQ(gradients_with(std::numeric_limits<float>::quiet_NaN()), gradients_with(0));
  }
}

// Enough work for rows to be divided among threads, and rows that do not divide evenly.
constexpr int64_t kManySteps = 20, kManyRows = 131, kIn = 24, kHidden = 32;

TEST(RecurrentLayers, SamplesAreTheSameBitsInEveryBatchAndOnEveryNumberOfThreads) {
  const int threads = num_threads();
  for (const auto& layer : layers_of_each_kind(kDeepBatchFirst, kIn, kHidden)) {
    SCOPED_TRACE(layer->type());
    const Tensor x = random({kManyRows, kManySteps, kIn});
    set_num_threads(1);
    const auto whole = values_of((*layer)(x)), part = values_of((*layer)(slice(x, 0, 0, 3)));
    EXPECT_EQ(std::vector<float>(whole.begin(), whole.begin() + static_cast<int64_t>(part.size())), part);
    set_num_threads(3);
    EXPECT_EQ(values_of((*layer)(x)), whole);
    set_num_threads(threads);
  }
}

TEST(RecurrentLayers, GradientsAreTheSameBitsOnEveryNumberOfThreads) {
  const int threads = num_threads();
  for (const auto& layer : layers_of_each_kind(kDeep, kIn, kHidden)) {
    SCOPED_TRACE(layer->type());
    const Tensor x(random({kManySteps, kManyRows, kIn}).data(), true);
    std::vector<std::vector<float>> one;
    for (const int count : {1, 3}) {
      set_num_threads(count);
      std::vector<Tensor> wanted = layer->parameters();
      wanted.push_back(x);
      const auto grads = grad(sum((*layer)(x)*random({kManySteps, kManyRows, 2 * kHidden}, 9)), wanted);
      for (size_t i = 0; i < grads.size(); ++i)
        if (count == 1)
          one.push_back(values_of(grads[i]));
        else
          EXPECT_EQ(values_of(grads[i]), one[i]) << i;
    }
    set_num_threads(threads);
  }
}

// A model that reads the last state of sequences of several lengths.
struct LastState : Module {
  explicit LastState(std::shared_ptr<RecurrentLayer> layer) : recurrent(std::move(layer)) {
    register_module("recurrent", recurrent);
  }
  Tensor forward_all(std::span<const Tensor> inputs) override {
    const RecurrentOutput y = recurrent->run(inputs[0], {}, inputs.size() > 1 ? inputs[1] : Tensor());
    const Tensor h = y.c_n.defined() ? y.h_n + y.c_n : y.h_n;
    return fc(flatten(transpose(h, 0, 1), 1));
  }
  std::shared_ptr<RecurrentLayer> recurrent;
  Submodule<Linear> fc{this, "fc", 16, 3};
};

void expect_graph_answers_as(Graph& graph, Module& model, const std::vector<Tensor>& inputs) {
  const NoGrad guard;
  const auto got = values_of(graph.call(inputs)), expected = values_of(model.call(inputs));
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-5) << i;
}

TEST(RecurrentLayers, AreOneNodeOfAGraphThatRunsOnOtherSizes) {
  for (const auto& options : {kDeep, kDeepBatchFirst})
    for (const auto& layer : layers_of_each_kind(options)) {
      SCOPED_TRACE(str(layer->type(), ' ', options.batch_first));
      Sequential model;
      model.add(layer).emplace<Linear>(8, 3);
      model.eval();
      Graph graph = trace(model, random({1, 6, 5}));
      ASSERT_EQ(graph.nodes().size(), 3u);
      EXPECT_TRUE(graph.is_layer(graph.nodes()[1], layer->type()));
      EXPECT_EQ(graph.state()[0].first, "0.weight_ih_l0");
      for (const Shape& shape : {Shape{1, 6, 5}, Shape{4, 7, 5}, Shape{6, 1, 5}})
        expect_graph_answers_as(graph, model, {random(shape, 3)});
    }
}

TEST(RecurrentLayers, StatesAndLengthsAreTraced) {
  for (const auto& layer : layers_of_each_kind(kDeepBatchFirst)) {
    SCOPED_TRACE(layer->type());
    LastState model(layer);
    model.eval();
    const Tensor one = random({1, 4, 5}), x = random({3, 6, 5});
    Graph states = trace(model, one);
    expect_graph_answers_as(states, model, {x});
    Graph with_lengths = trace(model, {one, Tensor(NDArray::from_vector<int64_t>({3}))});
    expect_graph_answers_as(with_lengths, model, {x, NDArray::from_vector<int64_t>({2, 6, 1})});
  }
}

TEST(RecurrentLayers, HaveAStepOfTheirOwn) {
  const ValueInfo x{{3, 2, 5}}, state{{4, 2, 4}}, lengths{{2}, DType::int64};
  for (const auto& layer : layers_of_each_kind(kDeep)) {
    SCOPED_TRACE(layer->type());
    EXPECT_NE(layer->inference_step(std::array{x}), nullptr);
    if (layer->type() == "LSTM")
      EXPECT_NE(layer->inference_step(std::array{x, state, state, lengths}), nullptr);
    else
      EXPECT_NE(layer->inference_step(std::array{x, state, lengths}), nullptr);
  }
}

// The step of a layer alone.
void run_alone(const Module& layer, std::span<const ValueInfo> infos, const std::vector<Tensor>& inputs) {
  const auto program = std::make_shared<const Program>(single_step(layer.inference_step(infos), infos));
  WorkMemory memory;
  Tensor y;
  BatchedProgram(program).run(inputs, std::span(&y, 1), memory);
}

TEST(RecurrentLayers, WhatDoesNotFitIsRefusedInOneLine) {
  LSTM lstm(5, 4, {.num_layers = 2});
  const auto message = [](const char* text) { return ThrowsMessage<Error>(HasSubstr(text)); };
  EXPECT_THAT([&] { lstm(random({3, 2, 4})); }, message("LSTM: expects x [steps, n, 5], got [3,2,4]"));
  EXPECT_THAT([&] { lstm(random({3, 5})); }, message("LSTM: expects x [steps, n, 5], got [3,5]"));
  const Tensor x = random({3, 2, 5});
  EXPECT_THAT([&] { lstm.run(x, {random({1, 2, 4})}); }, message("LSTM: h must be [2, 2 or 1, 4], got [1,2,4]"));
  EXPECT_THAT([&] { lstm.run(x, {}, NDArray::from_vector<int64_t>({1})); }, message("lengths must be [2], got [1]"));
  EXPECT_THAT(
      [&] {
        lstm.run(x, {}, NDArray::from_vector<int64_t>({4, 1}));
      },
      message("lstm: a length is 4, expected 0 to 3"));
  const std::array inputs{ValueInfo{{3, 1, 5}}, ValueInfo{{2, 1, 4}}, ValueInfo{{2, 1, 4}},
                          ValueInfo{{1}, DType::int64}};
  EXPECT_THAT(
      [&] {
        run_alone(lstm, inputs,
                  {random({3, 1, 5}), random({2, 1, 4}), random({2, 1, 4}), NDArray::from_vector<int64_t>({4})});
      },
      message("LSTM: a length is 4, expected 0 to 3"));
  EXPECT_THAT([&] { lstm(x, Tensor(), Tensor()); }, message("LSTM: an input is undefined; run(x, ...) takes"));
  EXPECT_THAT([&] { lstm(x, x); }, message("takes x, or x, 2 initial states and lengths, got 2 inputs"));
  EXPECT_THAT([&] { GRU(5, 4).run(x, {{}, x}); }, message("GRU: has no cell"));
  EXPECT_THAT([&] { GRU(0, 4); }, message("GRU: input_size 0"));
  EXPECT_THAT([&] { RNN(3, 4, {.num_layers = 0}); }, message("RNN: num_layers 0"));
  EXPECT_THAT([&] { LSTM(3, 4, {.dropout = 1.5}); }, message("LSTM: dropout 1.5"));
  Attributes broken = lstm.attributes();
  broken.set("num_layers", int64_t{1} << 40);
  EXPECT_THROW(make_layer("LSTM", broken), FormatError);
}

}  // namespace
}  // namespace thimble::nn
