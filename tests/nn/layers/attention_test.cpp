// MultiheadAttention and Transformer encoders: PyTorch's numbers, traces, masks, dropout.
#include <fstream>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/nn/random_input.h"
#include <thimble/core/ops.h>
#include <thimble/core/parallel.h>
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/inference/executor.h>
#include <thimble/nn/layers/transformer.h>

namespace thimble::nn {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;
using Activation = TransformerEncoderLayer::Activation;

NDArray array_from(const json& j) {
  const NDArray values =
      NDArray::from_vector(j.at("values").get<std::vector<double>>(), Shape(j.at("shape").get<std::vector<int64_t>>()));
  return j.value("dtype", "") == "bool" ? values.to(DType::bool_) : values;
}

std::optional<int64_t> optional_size(const json& o, const char* key) {
  return o.contains(key) ? o.at(key).get<int64_t>() : std::optional<int64_t>();
}

TransformerEncoderLayer::Options encoder_options(const json& o) {
  return {.dim_feedforward = o.at("dim_feedforward").get<int64_t>(),
          .dropout = 0,
          .activation = o.value("activation", "relu") == "gelu" ? Activation::gelu : Activation::relu,
          .layer_norm_eps = o.value("layer_norm_eps", 1e-5),
          .batch_first = o.value("batch_first", false),
          .norm_first = o.value("norm_first", false)};
}

std::shared_ptr<Module> make(const std::string& kind, const json& o) {
  const auto size = [&](const char* key) { return o.at(key).get<int64_t>(); };
  if (kind == "MultiheadAttention")
    return std::make_shared<MultiheadAttention>(
        size("embed_dim"), size("num_heads"),
        MultiheadAttention::Options{.bias = o.value("bias", true),
                                    .kdim = optional_size(o, "kdim"),
                                    .vdim = optional_size(o, "vdim"),
                                    .batch_first = o.value("batch_first", false)});
  if (kind == "TransformerEncoderLayer")
    return std::make_shared<TransformerEncoderLayer>(size("d_model"), size("nhead"), encoder_options(o));
  return std::make_shared<TransformerEncoder>(
      size("d_model"), size("nhead"), size("num_layers"),
      TransformerEncoder::Options{.layer = encoder_options(o), .norm = o.at("norm").get<bool>()});
}

Tensor mask_named(const json& c, std::initializer_list<const char*> names) {
  for (const char* name : names)
    if (c.at("masks").contains(name)) return Tensor(array_from(c.at("masks").at(name)));
  return {};
}

// What the layer is called with.
std::vector<Tensor> arguments_of(const json& c, const std::vector<Tensor>& inputs) {
  const Tensor padding = mask_named(c, {"key_padding_mask", "src_key_padding_mask"}),
               mask = mask_named(c, {"attn_mask", "src_mask", "mask"});
  if (c.at("masks").empty()) return inputs;
  if (c.at("kind") != "MultiheadAttention") return {inputs[0], mask, padding};
  return {inputs[0], inputs[inputs.size() > 1 ? 1 : 0], inputs[inputs.size() > 1 ? 2 : 0], padding, mask};
}

void expect_near(const NDArray& got, const NDArray& expected, double tolerance, const std::string& what) {
  ASSERT_EQ(got.shape(), expected.shape()) << what;
  const auto g = got.to_vector<double>(), e = expected.to_vector<double>();
  for (size_t i = 0; i < e.size(); ++i) ASSERT_NEAR(g[i], e[i], tolerance * (1 + std::abs(e[i]))) << what << ' ' << i;
}

// PyTorch's tensors in float32, by its names: load_state() wants the layer's dtype.
void load(Module& layer, const json& c) {
  std::map<std::string, Tensor> state;
  for (const auto& [name, values] : c.at("state").items()) state[name] = Tensor(array_from(values).to(DType::float32));
  layer.load_state(state);
}

std::vector<json> pytorch_cases() {
  std::ifstream file(std::string(THIMBLE_TEST_DATA) + "/torch_attention_cases.json");
  return json::parse(file).at("cases").get<std::vector<json>>();
}

TEST(AttentionLayers, ValuesAndGradientsAreThoseOfPyTorch) {
  const std::vector<json> cases = pytorch_cases();
  ASSERT_GE(cases.size(), 18u);
  for (const json& c : cases) {
    SCOPED_TRACE(c.at("kind").get<std::string>() + ' ' + c.at("options").dump() + c.at("masks").dump().substr(0, 40));
    const auto layer = make(c.at("kind"), c.at("options"));
    load(*layer, c);
    std::vector<Tensor> inputs;
    for (const json& input : c.at("inputs")) inputs.emplace_back(array_from(input).to(DType::float32), true);
    std::vector<Tensor> arguments = arguments_of(c, inputs);
    for (Tensor& a : arguments)
      if (a.defined() && a.dtype() == DType::float64) a = Tensor(a.data().to(DType::float32));
    const Tensor y = layer->call(arguments);
    expect_near(y.data(), array_from(c.at("output")), 1e-5, "output");
    y.backward(Tensor(array_from(c.at("out_grad")).to(DType::float32)));
    std::vector<Tensor> all = inputs;
    std::map<std::string, Tensor> parameters;
    for (const auto& [name, tensor] : layer->named_parameters()) parameters[name] = tensor;
    // The file has them in PyTorch's order.
    for (size_t i = 0; i < inputs.size(); ++i)
      expect_near(inputs[i].grad().data(), array_from(c.at("grads").at(i)), 1e-4, "input's gradient");
    std::map<std::string, json> grads;
    size_t at = inputs.size();
    for (const std::string& name : c.at("names").get<std::vector<std::string>>()) grads[name] = c.at("grads").at(at++);
    ASSERT_EQ(grads.size(), parameters.size());
    for (const auto& [name, tensor] : parameters)
      expect_near(tensor.grad().data(), array_from(grads.at(name)), 1e-4, name);
  }
}

std::vector<std::string> names_in(const NamedTensors& tensors) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors) names.push_back(name);
  return names;
}

TEST(AttentionLayers, NameTheirTensorsAsPyTorchDoes) {
  EXPECT_THAT(names_in(MultiheadAttention(4, 2).state()),
              ElementsAre("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"));
  EXPECT_THAT(names_in(MultiheadAttention(4, 2, {.bias = false}).state()),
              ElementsAre("in_proj_weight", "out_proj.weight"));
  EXPECT_THAT(names_in(MultiheadAttention(4, 2, {.kdim = 3}).state()),
              ElementsAre("q_proj_weight", "k_proj_weight", "v_proj_weight", "in_proj_bias", "out_proj.weight",
                          "out_proj.bias"));
  const TransformerEncoder encoder(4, 2, 1, {.norm = true});
  EXPECT_THAT(
      names_in(encoder.state()),
      ElementsAre("layers.0.self_attn.in_proj_weight", "layers.0.self_attn.in_proj_bias",
                  "layers.0.self_attn.out_proj.weight", "layers.0.self_attn.out_proj.bias", "layers.0.linear1.weight",
                  "layers.0.linear1.bias", "layers.0.linear2.weight", "layers.0.linear2.bias", "layers.0.norm1.weight",
                  "layers.0.norm1.bias", "layers.0.norm2.weight", "layers.0.norm2.bias", "norm.weight", "norm.bias"));
}

int count_of(const Graph& graph, std::string_view target) {
  int found = 0;
  for (const Node* node : graph.nodes()) found += graph.is_layer(node, target) || graph.is_op(node, target);
  return found;
}

// Traced with one size, it serves others: from the executor, divided among threads, as from the module.
TEST(AttentionLayers, ATracedEncoderTakesAnyBatchAndLength) {
  const int before = num_threads();
  for (const bool norm_first : {false, true}) {
    manual_seed(1);
    TransformerEncoder encoder(16, 4, 2,
                               {.layer = {.dim_feedforward = 24,
                                          .activation = Activation::gelu,
                                          .batch_first = true,
                                          .norm_first = norm_first},
                                .norm = norm_first});
    Graph graph = trace(encoder.eval(), random({2, 5, 16}));
    EXPECT_EQ(count_of(graph, "Linear"), 8) << graph.table();
    EXPECT_EQ(count_of(graph, "matmul"), 4);
    EXPECT_EQ(count_of(graph, "softmax"), 2);
    EXPECT_NE(graph.find("layers.0.self_attn.in_proj"), nullptr);
    const NoGrad guard;
    Executor executor(graph);
    for (const int threads : {1, 2}) {
      set_num_threads(threads);
      for (const Shape& shape :
           {Shape{2, 5, 16}, Shape{1, 5, 16}, Shape{1, 1, 16}, Shape{64, 7, 16}, Shape{3, 40, 16}}) {
        const Tensor x = random(shape, 7);
        const Tensor got = executor.run(graph, std::vector<Tensor>{x})[0];
        expect_near(got.data(), encoder(x).data(), 1e-5, str("shape ", shape));
        expect_near(graph(x).data(), got.data(), 1e-5, "the graph");
      }
    }
    set_num_threads(before);
  }
}

TEST(AttentionLayers, SequencesThatComeFirstAreTracedToo) {
  manual_seed(2);
  TransformerEncoderLayer layer(8, 2, {.dim_feedforward = 12});
  Graph graph = trace(layer.eval(), random({5, 2, 8}));
  const NoGrad guard;
  for (const Shape& shape : {Shape{5, 2, 8}, Shape{5, 1, 8}, Shape{1, 3, 8}, Shape{9, 4, 8}})
    expect_near(graph(random(shape, 3)).data(), layer(random(shape, 3)).data(), 1e-5, str("shape ", shape));
}

Tensor hidden_after(const std::vector<int64_t>& lengths, int64_t most) {
  NDArray hidden({static_cast<int64_t>(lengths.size()), most}, DType::bool_);
  for (int64_t i = 0; i < hidden.numel(); ++i)
    hidden.data<bool>()[i] = i % most >= lengths[static_cast<size_t>(i / most)];
  return hidden;
}

struct PaddedEncoder : Module {
  Submodule<TransformerEncoder> encoder{
      this, "encoder", 8, 2, 2, TransformerEncoder::Options{.layer = {.dim_feedforward = 12, .batch_first = true}}};
  Tensor forward_all(std::span<const Tensor> inputs) override { return encoder(inputs[0], Tensor(), inputs[1]); }
};

TEST(AttentionLayers, PaddingIsNotSeen) {
  manual_seed(3);
  PaddedEncoder model;
  Graph graph = trace(model.eval(), {random({2, 4, 8}), hidden_after({4, 2}, 4)});
  const NoGrad guard;
  NDArray x = random({3, 6, 8}, 4).data();
  const Tensor padding = hidden_after({6, 2, 0}, 6);
  const NDArray y = graph(Tensor(x), padding).data(),
                alone = model(Tensor(x.slice(0, 1, 2).slice(1, 0, 2)), hidden_after({2}, 2)).data();
  expect_near(y.slice(0, 1, 2).slice(1, 0, 2), alone, 1e-5, "as if it were not there");
  expect_near(y, model(Tensor(x), padding).data(), 1e-5, "the graph");
  for (const double v : y.to_vector<double>()) EXPECT_TRUE(std::isfinite(v));  // nothing is seen of the third
}

// Masks that are values, and constants, and both: the batch divided or not.
TEST(AttentionLayers, TheExecutorMasksAsTheModuleDoes) {
  struct Masked : Module {
    explicit Masked(bool is_causal) : mask(is_causal ? register_buffer("mask", causal_mask(7)) : Tensor()) {}
    Submodule<MultiheadAttention> attention{this, "attention", 8, 2, MultiheadAttention::Options{.batch_first = true}};
    Tensor mask;
    Tensor forward_all(std::span<const Tensor> inputs) override {
      const Tensor& x = inputs[0];
      return attention(x, x, x, inputs.size() > 1 ? inputs[1] : Tensor(), mask);
    }
  };
  const int before = num_threads();
  for (const bool is_causal : {false, true}) {
    for (const bool is_padded : {false, true}) {
      manual_seed(8);
      Masked model(is_causal);
      const auto inputs_of = [&](int64_t n) {
        std::vector<Tensor> inputs{random({n, 7, 8}, static_cast<uint64_t>(n))};
        std::vector<int64_t> lengths;
        for (int64_t i = 0; i < n; ++i) lengths.push_back(7 - i % 5);
        if (is_padded) inputs.push_back(hidden_after(lengths, 7));
        return inputs;
      };
      Graph graph = trace(model.eval(), inputs_of(2));
      const NoGrad guard;
      Executor executor(graph);
      for (const int threads : {1, 2}) {
        set_num_threads(threads);
        for (const int64_t n : {1, 3, 100}) {
          const std::vector<Tensor> inputs = inputs_of(n);
          expect_near(executor.run(graph, inputs)[0].data(), model.call(inputs).data(), 1e-5, str(n, " samples"));
        }
      }
      set_num_threads(before);
    }
  }
}

TEST(AttentionLayers, ACausalMaskHidesWhatComesAfter) {
  manual_seed(4);
  TransformerEncoderLayer layer(8, 2, {.dim_feedforward = 12, .batch_first = true});
  layer.eval();
  const NoGrad guard;
  const Tensor x = random({2, 5, 8}), y = layer(x, causal_mask(5));
  const Tensor start = Tensor(x.data().slice(1, 0, 3).clone());
  expect_near(y.data().slice(1, 0, 3), layer(start, causal_mask(3)).data(), 1e-5, "the first three");
  EXPECT_NE(layer(x).data().to_vector<float>(), y.data().to_vector<float>());
}

TEST(AttentionLayers, DropOnlyInTraining) {
  manual_seed(5);
  TransformerEncoderLayer layer(8, 2, {.dim_feedforward = 12, .dropout = 0.5, .batch_first = true});
  const Tensor x = random({2, 5, 8});
  const auto values_of = [](const Tensor& t) { return t.data().to_vector<float>(); };
  EXPECT_NE(values_of(layer(x)), values_of(layer(x)));
  layer.eval();
  const auto expected = values_of(layer(x));
  EXPECT_EQ(values_of(layer(x)), expected);
  Graph graph = trace(layer, x);
  EXPECT_EQ(count_of(graph, "Dropout"), 4) << graph.table();
  const NoGrad guard;
  expect_near(graph(x).data(), layer(x).data(), 1e-5, "the graph");
  graph.train();
  EXPECT_NE(values_of(graph(x)), values_of(graph(x)));
  MultiheadAttention attention(8, 2, {.dropout = 0.5, .batch_first = true});
  EXPECT_NE(values_of(attention(x)), values_of(attention(x)));
  attention.eval();
  EXPECT_EQ(values_of(attention(x)), values_of(attention(x)));
}

TEST(AttentionLayers, WhatIsTrainedIsWhatAttends) {
  manual_seed(6);
  MultiheadAttention attention(8, 2, {.batch_first = true});
  EXPECT_EQ(attention.num_parameters(), 4 * 8 * 8 + 4 * 8);
  const Tensor x = random({1, 3, 8});
  attention.load_state(MultiheadAttention(8, 2).state());
  sum(attention(x)).backward();
  for (const auto& [name, tensor] : attention.named_parameters()) EXPECT_TRUE(tensor.grad().defined()) << name;
  const auto before = attention(x).data().to_vector<float>();
  attention.in_proj_weight.mutable_data().fill(0);
  EXPECT_NE(attention(x).data().to_vector<float>(), before);
  // Of x to itself and of x to a copy of it: the same by other ways.
  manual_seed(7);
  MultiheadAttention other(8, 2, {.batch_first = true});
  const Tensor copy = Tensor(x.data().clone());
  expect_near(other(x, copy, copy).data(), other(x).data(), 1e-5, "attention to a copy");
}

TEST(AttentionLayers, RefuseWhatDoesNotFit) {
  const auto refused = [](const auto& f, const std::string& text) {
    EXPECT_THAT([&] { f(); }, ThrowsMessage<Error>(HasSubstr(text)));
  };
  refused([] { MultiheadAttention(6, 4); }, "MultiheadAttention: num_heads 4 do not divide embed_dim 6");
  refused([] { MultiheadAttention(0, 1); }, "MultiheadAttention: embed_dim 0");
  refused([] { MultiheadAttention(4, 2, {.kdim = 0}); }, "kdim and vdim must be at least 1");
  refused([] { MultiheadAttention(4, 2, {.dropout = 2}); }, "Dropout: p 2 is not in [0, 1]");
  refused([] { TransformerEncoderLayer(4, 2, {.dim_feedforward = 0}); }, "dim_feedforward 0 must be at least 1");
  refused([] { TransformerEncoder(4, 2, 0); }, "TransformerEncoder: num_layers 0 must be at least 1");
  refused([] { causal_mask(0); }, "causal_mask: size 0 must be at least 1");
  MultiheadAttention attention(4, 2, {.batch_first = true});
  const Tensor x = random({2, 3, 4});
  refused([&] { attention(random({2, 3, 5})); }, "MultiheadAttention: query [2,3,5] must be [n, length, 4]");
  refused([&] { attention(x, x); }, "expects one input, or query, key, value and masks, got 2");
  refused([&] { attention(x, x, x, Tensor(hidden_after({3}, 3).data().reshape({3}))); },
          "MultiheadAttention: key_padding_mask [3] must be [n, s]");
  refused(
      [&] {
        attention(x, x, x, Tensor(), Tensor(NDArray::full({3, 3, 3}, 0, DType::bool_)));
      },
      "MultiheadAttention: attn_mask [3,3,3] is not for 2 heads");
  refused([&] { attention(x, x, x, Tensor(), Tensor(NDArray::full({3}, 0, DType::bool_))); },
          "MultiheadAttention: attn_mask [3] must be [l, s]");
}

}  // namespace
}  // namespace thimble::nn
