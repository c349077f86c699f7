// Models of recurrent layers, in floats and quantized, saved and loaded.
#include <nlohmann/json.hpp>

#include "tests/serialization/damage.h"
#include "tests/serialization/round_trip.h"
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/recurrent.h>
#include <thimble/quant/passes/dynamic.h>
#include <thimble/quant/quantize.h>
#include <thimble/serialization/safetensors.h>

namespace thimble {
namespace {

class RecurrentCheckpoint : public CheckpointTest {};

TEST_F(RecurrentCheckpoint, LayersComeBackWithEveryOption) {
  nn::Sequential model;
  model.emplace<nn::LSTM>(3, 4, nn::LSTM::Options{.num_layers = 2, .dropout = 0.25, .bidirectional = true});
  model.emplace<nn::GRU>(8, 5, nn::GRU::Options{.bias = false, .batch_first = true});
  model.emplace<nn::RNN>(5, 2, nn::RNN::Options{.nonlinearity = nn::Nonlinearity::relu});
  const Tensor x = random_input({6, 2, 3});
  nn::Graph graph = nn::trace(model.eval(), x);
  nn::Graph loaded = expect_round_trip(graph, x);
  for (const auto& [name, layer] : model.children()) {
    ASSERT_NE(loaded.child(name), nullptr) << name;
    EXPECT_EQ(loaded.child(name)->attributes(), layer->attributes());
  }
}

nn::Graph small_graph(const Tensor& x) {
  nn::Sequential model;
  model.emplace<nn::LSTM>(3, 4, nn::LSTM::Options{.num_layers = 2, .bidirectional = true});
  model.emplace<nn::GRU>(8, 5, nn::GRU::Options{.bias = false});
  model.emplace<nn::RNN>(5, 2, nn::RNN::Options{.nonlinearity = nn::Nonlinearity::relu});
  return nn::trace(model.eval(), x);
}

TEST_F(RecurrentCheckpoint, QuantizedLayersComeBack) {
  const Tensor x = random_input({6, 2, 3});
  const nn::Graph graph = small_graph(x);
  quant::QConfig of_5_bits;
  of_5_bits.weight.bits = 5;
  for (const auto& mapping : {quant::QConfigMapping::static_int8(), quant::QConfigMapping().set_global(of_5_bits)}) {
    nn::Graph dynamic = quant::quantize_dynamic(graph, mapping);
    nn::Graph integers = quant::quantize_model(graph, std::vector<Tensor>{x}, mapping);
    for (nn::Graph* quantized : {&dynamic, &integers}) {
      const nn::Graph loaded = expect_round_trip(*quantized, x);
      for (const char* type : {"QuantizedLSTM", "QuantizedGRU", "QuantizedRNN"})
        EXPECT_EQ(
            std::ranges::count_if(loaded.nodes(), [&](const nn::Node* node) { return loaded.is_layer(node, type); }), 1)
            << type;
    }
  }
}

TEST_F(RecurrentCheckpoint, DamagedAttributesOfQuantizedLayersAreRefused) {
  using nlohmann::json;
  const Tensor x = random_input({6, 2, 3});
  save_model(quant::quantize_model(small_graph(x), std::vector<Tensor>{x}), file);
  TensorFile original = load_safetensors(file);
  for (auto& [name, array] : original.tensors) array = array.clone();
  const auto refusal = [&](const std::function<void(json&)>& change, const std::string& type = "QuantizedLSTM") {
    TensorFile changed = original;
    json j = json::parse(changed.metadata.at("graph"));
    for (json& layer : j["layers"])
      if (layer["type"] == type) change(layer["attributes"]);
    changed.metadata["graph"] = j.dump();
    save_safetensors(file, changed.metadata, changed.tensors);
    return format_error_of(read_bytes(file), [](const auto& path) { (void)load_model(path); });
  };
  using ::testing::HasSubstr;
  for (const char* key : {"input_size", "hidden_size", "num_layers", "bias", "batch_first", "bidirectional",
                          "weight_bits", "input_zero_point", "output_bits"}) {
    EXPECT_THAT(refusal([&](json& a) { a.erase(key); }), HasSubstr(key));
    EXPECT_THAT(refusal([&](json& a) { a[key] = "many"; }), HasSubstr(key));
  }
  for (const char* key : {"input_size", "hidden_size", "num_layers"})
    for (const int64_t size : {int64_t{0}, int64_t{-1}, int64_t{1} << 40, INT64_MAX})
      EXPECT_THAT(refusal([&](json& a) { a[key] = size; }), HasSubstr(str(key, ' ', size))) << key;
  EXPECT_THAT(refusal([](json& a) { a["hidden_size"] = 60000; }), HasSubstr("sums are of at most"));
  EXPECT_THAT(refusal([](json& a) { a["input_scale"] = -1.0; }), HasSubstr("scale -1"));
  EXPECT_THAT(refusal([](json& a) { a["output_zero_point"] = 256; }), HasSubstr("output_zero_point"));
  EXPECT_THAT(refusal([](json& a) { a["num_layers"] = 3; }), HasSubstr("weight_ih_l2"));
  EXPECT_THAT(refusal([](json& a) { a["num_layers"] = 1024; }), HasSubstr("more than there are in the file"));
  EXPECT_THAT(refusal([](json& a) { a["nonlinearity"] = "sine"; }, "QuantizedRNN"), HasSubstr("'sine'"));
}

}  // namespace
}  // namespace thimble
