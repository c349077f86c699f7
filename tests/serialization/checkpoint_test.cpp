#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/resource.h>

#include "tests/serialization/round_trip.h"
#include <thimble/core/ops.h>
#include <thimble/core/random.h>
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/layers/activation.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/quant/passes/weight_only.h>
#include <thimble/quant/quantize.h>
#include <thimble/serialization/checkpoint.h>
#include <thimble/serialization/graph_json.h>
#include <thimble/serialization/safetensors.h>

namespace thimble {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// A model with a shared layer, ops with attributes, a parameter and a constant used by plain ops, a buffer.
struct SavedNet : nn::Module {
  nn::Submodule<nn::Linear> fc1{this, "fc1", 6, 6}, fc2{this, "fc2", 6, 4};
  Tensor gain = register_parameter("gain", random_input({6}, 4));
  Tensor offset = register_buffer("offset", random_input({6}, 5));
  Tensor forward(const Tensor& x) override {
    Tensor h = fc1(gelu(fc1(flatten(x, 1)))) * gain + offset;
    h = leaky_relu(h, 0.125) * 0.5;
    return softmax(fc2(reshape(transpose(reshape(h, {-1, 2, 3}), 1, 2), {-1, 6})), -1);
  }
};

nn::Graph small_mlp() {
  manual_seed(1);
  nn::Sequential model(nn::Linear(5, 4), nn::ReLU(), nn::Linear(4, 3));
  return nn::trace(model.eval(), Tensor(random_input({2, 5})));
}

nn::Graph small_int8() {
  return quant::quantize_model(small_mlp(), [](nn::Graph& g) { g(Tensor(random_input({9, 5}))); });
}

std::map<std::string, bool> what_learns(const nn::Graph& graph) {
  std::map<std::string, bool> learns;
  for (const auto& [name, parameter] : graph.named_parameters()) learns[name] = parameter.requires_grad();
  return learns;
}

TEST_F(CheckpointTest, WhatIsFrozenComesBackFrozen) {
  manual_seed(1);
  SavedNet net;
  const Tensor x = random_input({4, 2, 3});
  const std::string trained = detail::graph_to_json(nn::trace(net.eval(), x));
  EXPECT_THAT(trained, Not(HasSubstr("frozen")));  // such files are as they were
  net.fc1->weight.set_requires_grad(false);
  net.fc2->bias.set_requires_grad(false);
  net.gain.set_requires_grad(false);
  nn::Graph graph = nn::trace(net.eval(), x);
  const std::map<std::string, bool> expected{
      {"fc1.weight", false}, {"fc1.bias", true}, {"fc2.weight", true}, {"fc2.bias", false}, {"gain", false}};
  EXPECT_EQ(what_learns(graph), expected);
  nn::Graph loaded = expect_round_trip(graph, x);
  EXPECT_EQ(what_learns(loaded), expected);
  EXPECT_EQ(what_learns(loaded.clone()), expected);
  json document = json::parse(detail::graph_to_json(graph));
  EXPECT_EQ(document.dump(), detail::graph_to_json(graph)) << "members in alphabetical order, as in files before";
  document["layers"][0]["frozen"] = {"weigth"};
  EXPECT_THROW(detail::graph_from_json(document.dump(), 100), FormatError);
  document["layers"][0]["frozen"] = "weight";
  EXPECT_THROW(detail::graph_from_json(document.dump(), 100), FormatError);
  document["layers"][0]["frozen"] = {1};
  EXPECT_THROW(detail::graph_from_json(document.dump(), 100), FormatError);
}

TEST_F(CheckpointTest, AFloatModelComesBackWithoutItsClass) {
  manual_seed(1);
  SavedNet net;
  const Tensor x = random_input({4, 2, 3});
  nn::Graph graph = nn::trace(net.eval(), x);
  nn::Graph loaded = expect_round_trip(graph, x);
  EXPECT_EQ(loaded.num_parameters(), net.num_parameters());
  EXPECT_EQ(loaded(x).data().to_vector<float>(), net(x).data().to_vector<float>());
}

TEST_F(CheckpointTest, SeveralOutputsComeBackUnderTheirNames) {
  nn::Graph graph = small_mlp();
  const Tensor x = random_input({3, 5});
  EXPECT_FALSE(json::parse(detail::graph_to_json(graph)).contains("outputs")) << "such files are as they were";
  graph.set_outputs({{"classes", graph.output()}, {"features", graph.find("1")}, {"same", graph.find("1")}});
  const nn::Graph loaded = expect_round_trip(graph, x);
  ASSERT_EQ(loaded.outputs().size(), 3u);
  EXPECT_EQ(loaded.outputs()[1].name, "features");
  EXPECT_EQ(loaded.outputs()[2].node, loaded.find("1"));
  const std::string text = detail::graph_to_json(graph);
  EXPECT_FALSE(json::parse(text).contains("output")) << "programs that know one would drop the others";
  EXPECT_EQ(json::parse(text).dump(), text) << "members in alphabetical order";
  graph.set_outputs({{"classes", graph.output()}});
  EXPECT_EQ(expect_round_trip(graph, x).outputs()[0].name, "classes");
  EXPECT_TRUE(json::parse(detail::graph_to_json(graph)).contains("output"));
}

TEST_F(CheckpointTest, AnIntegerModelComesBack) {
  nn::Graph graph = small_int8();
  nn::Graph loaded = expect_round_trip(graph, Tensor(random_input({7, 5})));
  EXPECT_TRUE(loaded.is_layer(loaded.find("0"), "QuantizedLinear"));
}

TEST_F(CheckpointTest, AModelWithWeightsOfFewBitsComesBackAndIsSmall) {
  manual_seed(1);
  nn::Sequential model(nn::Linear(256, 128), nn::ReLU(), nn::Linear(128, 3));
  nn::Graph float32 = nn::trace(model.eval(), Tensor(random_input({2, 256})));
  for (const auto scheme : {quant::QScheme::symmetric, quant::QScheme::affine})
    for (const int64_t group_size : {0, 64})
      for (const int bits : {3, 4, 8}) {
        const quant::QuantizationSpec spec{
            .bits = bits, .is_signed = true, .scheme = scheme, .axis = 0, .group_size = group_size};
        nn::Graph graph =
            quant::quantize_weight_only(float32, quant::QConfigMapping().set_global(quant::QConfig{.weight = spec}));
        nn::Graph loaded = expect_round_trip(graph, Tensor(random_input({7, 256})));
        EXPECT_TRUE(loaded.is_layer(loaded.find("0"), "WeightOnlyLinear"));
        EXPECT_LT(std::filesystem::file_size(file), static_cast<size_t>(256 * 128 * bits / 8 + 8192));
      }
}

TEST_F(CheckpointTest, APreparedModelKeepsItsCalibration) {
  nn::Graph prepared = quant::prepare(small_mlp(), quant::QConfigMapping::static_int8());
  const Tensor x = random_input({7, 5});
  prepared(x);
  nn::Graph loaded = expect_round_trip(prepared, x);
  EXPECT_EQ(quant::convert(loaded)(x).data().to_vector<float>(), quant::convert(prepared)(x).data().to_vector<float>());
}

TEST_F(CheckpointTest, AnUncalibratedModelComesBackToo) {
  nn::Graph prepared = quant::prepare(small_mlp(), quant::QConfigMapping::static_int8());
  save_model(prepared, file);
  nn::Graph loaded = load_model(file);
  EXPECT_THROW(quant::convert(loaded), ValueError);
}

TEST_F(CheckpointTest, ALayersWeightUsedByAPlainOpToo) {
  struct Tied : nn::Module {
    nn::Submodule<nn::Linear> fc{this, "fc", 5, 5};
    Tensor forward(const Tensor& x) override { return linear(relu(fc(x)), fc->weight) + linear(x, fc->weight); }
  } net;
  const Tensor x = random_input({3, 5});
  nn::Graph graph = nn::trace(net.eval(), x);
  expect_round_trip(graph, x);
}

TEST_F(CheckpointTest, LayersThatShareATensorComeBack) {
  const auto first = std::make_shared<nn::Linear>(5, 5);
  nn::Graph graph;
  nn::Node* input = graph.add_input("input");
  nn::Node* a = graph.add_layer("a", first, {input});
  graph.set_output(graph.add_layer("b", std::make_shared<nn::Linear>(first->weight, Tensor()), {a}));
  const Tensor x = random_input({3, 5});
  graph.eval();
  save_model(graph, file);
  EXPECT_EQ(load_model(file)(x).data().to_vector<float>(), graph(x).data().to_vector<float>());
}

TEST_F(CheckpointTest, WhatCouldNotBeLoadedIsNotSaved) {
  struct Unregistered : nn::Module {
    std::string type() const override { return "Unregistered"; }
    Tensor forward(const Tensor& x) override { return x; }
  };
  nn::Graph graph;
  nn::Node* input = graph.add_input("input");
  graph.set_output(graph.add_layer("layer", std::make_shared<Unregistered>(), {input}));
  EXPECT_THROW(save_model(graph, file), ValueError);
  EXPECT_FALSE(std::filesystem::exists(file));
}

TEST_F(CheckpointTest, EditedGraphsComeBack) {
  nn::Graph graph;
  nn::Node* input = graph.add_input("input");
  nn::Node* first = graph.add_layer("fc", std::make_shared<nn::Linear>(5, 5), {input});
  nn::Node* second = graph.add_call("again", first->target, {first});
  nn::Node* constant = graph.add_tensor("constant", Tensor(NDArray::ones({5})));
  graph.set_output(graph.add_op("sum", "add", {}, {second, constant}));
  const Tensor x = random_input({3, 5});
  expect_round_trip(graph, x);
  // The first call of the shared layer goes, the layer stays under its name.
  graph.replace_uses(first, input);
  graph.erase(first);
  expect_round_trip(graph, x);
  // Its name is free for another node, which may come first.
  graph.set_input(second, 0, graph.add_op("fc", "relu", {}, {input}, input));
  expect_round_trip(graph, x);
  graph.rename(second, "renamed");
  graph.rename(constant, "renamed too");
  expect_round_trip(graph, x);
  // The names of what they call and stand for are free for nodes, before them and behind.
  graph.set_input(second, 0, graph.add_op("constant", "relu", {}, {second->inputs[0]}, second->inputs[0]));
  nn::Node* third = graph.add_layer("fc", std::make_shared<nn::Linear>(5, 5), {graph.output()});
  graph.set_output(graph.add_op("twice", "add", {}, {third, graph.add_tensor("constant", Tensor(NDArray::ones({5})))}));
  EXPECT_EQ(third->name, "fc_1");
  expect_round_trip(graph, x);
}

TEST_F(CheckpointTest, NotesAreKept) {
  const Attributes notes{{"flag", true},
                         {"count", int64_t{-3}},
                         {"lr", 1e-3},
                         {"whole", 2.0},
                         {"text", std::string("line\nbreak, \"quotes\", ü")},
                         {"sizes", std::vector<int64_t>{1, 2}},
                         {"means", std::vector<double>{0.5, 1.0}}};
  save_model(small_mlp(), file, notes);
  EXPECT_EQ(load_checkpoint(file).notes, notes);
  save_model(small_mlp(), file);
  EXPECT_TRUE(load_checkpoint(file).notes.empty());
}

TEST_F(CheckpointTest, LoadedTensorsAreTheMappedFile) {
  save_model(small_mlp(), file);
  const std::string bytes = read_bytes(file);
  nn::Graph loaded = load_model(file);
  // All in one mapping, as far apart as they are in the file.
  std::map<std::string, const char*> address;
  for (const auto& [name, tensor] : loaded.state()) address[name] = static_cast<const char*>(tensor.data().raw());
  const TensorFile plain = load_safetensors(file);
  for (const auto& [name, array] : plain.tensors)
    EXPECT_EQ(
        address.at(name) - address.begin()->second,
        static_cast<const char*>(array.raw()) -
            static_cast<const char*>(
                std::ranges::find_if(plain.tensors, [&](const auto& t) { return t.first == address.begin()->first; })
                    ->second.raw()))
        << name;
  for (auto& p : loaded.parameters()) p.mutable_data().fill(0);
  EXPECT_TRUE(read_bytes(file) == bytes) << "changing a loaded model changed its file";
}

// What a mapped file takes of this process's memory; -1 if it is not mapped.
int64_t resident_bytes_of(const std::filesystem::path& path) {
  const std::string name = std::filesystem::canonical(path);
  int64_t bytes = -1;
  std::ifstream mappings("/proc/self/smaps");
  bool is_its = false;
  for (std::string line; std::getline(mappings, line);) {
    std::istringstream words(line);
    std::string first;
    int64_t kilobytes = 0;
    words >> first;
    if (!first.ends_with(':'))
      is_its = line.ends_with(name);
    else if (is_its && first == "Rss:" && words >> kilobytes)
      bytes = std::max<int64_t>(bytes, 0) + kilobytes * 1024;
  }
  return bytes;
}

// In integers: they are packed from the file, and have memory of their own from the moment that somebody asks for them.
TEST_F(CheckpointTest, LargeIntegerWeightsStayUnread) {
  manual_seed(1);
  nn::Sequential model(nn::Linear(300, 4000), nn::ReLU(), nn::Linear(4000, 3));
  nn::Graph float32 = nn::trace(model.eval(), Tensor(random_input({2, 300})));
  const Tensor x = random_input({4, 300});
  nn::Graph graph = quant::quantize_model(float32, [&](nn::Graph& g) { g(x); });
  save_model(graph, file);
  const std::string bytes = read_bytes(file);
  const NoGrad guard;
  const auto expected = graph(x).data().to_vector<float>();
  for (const bool mapped : {true, false}) {
    nn::Graph loaded = load_model(file, {.mapped = mapped});
    EXPECT_EQ(loaded(x).data().to_vector<float>(), expected);
    for (const auto& [name, tensor] : loaded.state())
      EXPECT_EQ(tensor.data().is_unread(), mapped && name == "0.weight") << name;
    // What was read of the file is let go of, but for what lies around the small tensors.
    const int64_t resident = resident_bytes_of(file);
    EXPECT_EQ(resident >= 0, mapped);
    EXPECT_LT(resident, 300 * 4000 / 2);
    save_model(loaded, file);
    EXPECT_TRUE(read_bytes(file) == bytes);
    loaded.state()[0].second.mutable_data().fill(0);
    EXPECT_TRUE(read_bytes(file) == bytes) << "changing a loaded model changed its file";
  }
}

TEST_F(CheckpointTest, TheModelMayBeSavedOverTheFileItCameFrom) {
  nn::Graph graph = small_mlp();
  save_model(graph, file);
  nn::Graph loaded = load_model(file);
  const Tensor x = random_input({2, 5});
  const auto expected = graph(x).data().to_vector<float>();
  save_model(loaded, file);
  EXPECT_EQ(loaded(x).data().to_vector<float>(), expected);
  EXPECT_EQ(load_model(file)(x).data().to_vector<float>(), expected);
}

// Loads bytes as a file: it ends in a model, or in an error that names the file and fits a line. A model runs, or says
// why not.
class HostileTest : public CheckpointTest {
 protected:
  enum class Outcome { model, error };

  Outcome load(const std::string& bytes) {
    write_bytes(file, bytes);
    try {
      nn::Graph graph = load_model(file);
      try {
        graph(Tensor(x));
      } catch (const Error&) {
      }
      return Outcome::model;
    } catch (const FormatError& e) {
      expect_fit(e.what());
    } catch (const IOError& e) {
      expect_fit(e.what());
    } catch (const std::exception& e) {
      ADD_FAILURE() << "another exception: " << e.what();
    }
    return Outcome::error;
  }

  void expect_fit(const std::string& message) {
    EXPECT_THAT(message, AllOf(HasSubstr(file.string()), Not(HasSubstr("\n"))));
  }

  NDArray x = random_input({2, 5});
};

TEST_F(HostileTest, EveryPrefixOfAFileIsRefused) {
  for (const nn::Graph& graph : {small_mlp(), small_int8()}) {
    save_model(graph, file);
    const std::string bytes = read_bytes(file);
    EXPECT_EQ(load(bytes), Outcome::model);
    for (size_t n = 0; n < bytes.size(); ++n)
      EXPECT_EQ(load(bytes.substr(0, n)), Outcome::error) << n << " of " << bytes.size() << " bytes";
    EXPECT_EQ(load(bytes + '\0'), Outcome::error);
  }
}

TEST_F(HostileTest, FlippedBitsEndInAModelOrAnError) {
  std::mt19937 rng(1);
  int models = 0, errors = 0;
  for (const nn::Graph& graph : {small_mlp(), small_int8()}) {
    save_model(graph, file);
    const std::string bytes = read_bytes(file);
    for (int i = 0; i < 2500; ++i) {
      std::string flipped = bytes;
      const size_t bits = 1 + rng() % 3;
      for (size_t b = 0; b < bits; ++b) {
        const size_t bit = rng() % (8 * bytes.size());
        flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
      }
      ++(load(flipped) == Outcome::model ? models : errors);
    }
  }
  EXPECT_GT(models, 100);
  EXPECT_GT(errors, 1000);
}

// A model's file with its JSON changed.
class HostileGraphTest : public HostileTest {
 protected:
  HostileGraphTest() { start_from(small_mlp()); }

  void start_from(const nn::Graph& graph) {
    save_model(graph, file);
    original = load_safetensors(file);
    for (auto& [name, array] : original.tensors) array = array.clone();
    json_of_graph = json::parse(original.metadata.at("graph"));
  }

  // The message with which the file of this graph is refused.
  std::string refusal(const std::string& graph) {
    TensorFile changed = original;
    changed.metadata["graph"] = graph;
    return refusal(changed);
  }
  std::string refusal(const TensorFile& changed) {
    save_safetensors(file, changed.metadata, changed.tensors);
    const std::string message = message_of<FormatError>([&] { load_model(file); });
    expect_fit(message);
    return message;
  }
  // With one change made to the JSON.
  template <typename F>
  void expect_refused(F&& change, const std::string& fragment) {
    json j = json_of_graph;
    change(j);
    EXPECT_THAT(refusal(j.dump()), HasSubstr(fragment));
  }
  template <typename F>
  void expect_metadata_refused(F&& change, const std::string& fragment) {
    TensorFile changed = original;
    change(changed.metadata);
    EXPECT_THAT(refusal(changed), HasSubstr(fragment));
  }

  TensorFile original;
  json json_of_graph;
};

TEST_F(HostileGraphTest, UnknownThings) {
  expect_refused([](json& j) { j["layers"][0]["type"] = "Transmogrifier"; }, "unknown layer type 'Transmogrifier'");
  expect_refused([](json& j) { j["nodes"][2]["target"] = "transmogrify"; }, "unknown op 'transmogrify'");
  expect_refused([](json& j) { j["nodes"][2]["kind"] = "verb"; }, "unknown kind 'verb'");
  expect_refused([](json& j) { j["nodes"][1]["target"] = "gone"; }, "no layer 'gone'");
  expect_refused([](json& j) { j["output"] = "gone"; }, "no node 'gone'");
}

TEST_F(HostileGraphTest, OutputsOfTheWrongKind) {
  expect_refused([](json& j) { j["outputs"] = json::array(); }, "0 outputs were asked for");
  expect_refused([](json& j) { j["outputs"] = "0"; }, "'outputs' is not a list");
  expect_refused([](json& j) { j["outputs"] = {"0"}; }, "expected an object");
  expect_refused([](json& j) { j["outputs"] = {{{"name", "a"}, {"node", "gone"}}}; }, "no node 'gone'");
  expect_refused([](json& j) { j["outputs"] = {{{"name", ""}, {"node", j["output"]}}}; }, "is empty");
  const auto twice = [](json& j) { j["outputs"] = json(2, json{{"name", "a"}, {"node", j["output"]}}); };
  expect_refused(twice, "given twice");
}

TEST_F(HostileGraphTest, MissingOrMistypedMembers) {
  for (const char* key : {"layers", "nodes", "output"}) {
    expect_refused([&](json& j) { j.erase(key); }, std::string("'") + key + "' is missing");
    expect_refused([&](json& j) { j[key] = 7; }, std::string("'") + key + "' is not a");
  }
  for (const char* key : {"name", "type", "attributes"})
    expect_refused([&](json& j) { j["layers"][0].erase(key); }, std::string("'") + key + "' is missing");
  for (const char* key : {"name", "kind", "target", "inputs", "attributes"}) {
    expect_refused([&](json& j) { j["nodes"][1].erase(key); }, std::string("'") + key + "' is missing");
    expect_refused([&](json& j) { j["nodes"][1][key] = nullptr; },
                   key == std::string("attributes") ? "attributes are" : key);
  }
  for (const char* key : {"in_features", "out_features", "bias"}) {
    expect_refused([&](json& j) { j["layers"][0]["attributes"].erase(key); }, key);
    expect_refused([&](json& j) { j["layers"][0]["attributes"][key] = "many"; }, key);
    expect_refused([&](json& j) { j["layers"][0]["attributes"][key] = json::object(); }, key);
  }
  expect_refused([](json& j) { j["nodes"][1]["inputs"] = {1}; }, "is not a name");
  expect_refused([](json& j) { j = json::array(); }, "expected an object");
  EXPECT_THAT(refusal("{\"layers\": ["), HasSubstr("not valid JSON"));
  EXPECT_THAT(refusal(""), HasSubstr("not valid JSON"));
}

TEST_F(HostileGraphTest, NamesAndOrder) {
  expect_refused([](json& j) { j["nodes"][2]["name"] = j["nodes"][1]["name"]; }, "given twice");
  expect_refused([](json& j) { j["nodes"][2]["name"] = ""; }, "empty");
  expect_refused([](json& j) { j["layers"][1]["name"] = j["layers"][0]["name"]; }, "taken");
  expect_refused([](json& j) { j["layers"][1]["name"] = ""; }, "empty");
  expect_refused([](json& j) { std::swap(j["nodes"][1], j["nodes"][2]); }, "before its use");
  expect_refused([](json& j) { j["nodes"][1]["inputs"] = json::array({j["nodes"][1]["name"]}); }, "before its use");
  expect_refused([](json& j) { j["nodes"][1]["inputs"] = json::array(); }, "inputs");
  expect_refused([](json& j) { j["nodes"][0]["kind"] = "relu"; }, "unknown kind");
  expect_refused([](json& j) { j["nodes"] = json::array(); }, "no node");
}

// Whoever prints a loaded graph, or an error that names a node, must not pass a stranger's bytes on to a terminal.
TEST_F(HostileGraphTest, TextThatATerminalObeysOrWithoutEnd) {
  for (const std::string& text : {std::string("two\nlines"), std::string("\x1b[2J"), std::string("a\0b", 3),
                                  std::string("\x7f"), std::string("\u009b31m"), std::string(1001, 'x')}) {
    // Consistently renamed, so that nothing else is wrong with the file.
    expect_refused([&](json& j) { j["nodes"][2]["name"] = j["nodes"][3]["inputs"][0] = text; }, "holds control");
    expect_refused([&](json& j) { j["layers"][0]["name"] = j["nodes"][1]["target"] = text; }, "holds control");
    expect_refused([&](json& j) { j["layers"][0]["type"] = text; }, "holds control");
    expect_refused([&](json& j) { j["nodes"][2]["target"] = text; }, "holds control");
    expect_refused([&](json& j) { j["nodes"][2]["attributes"][text] = 1; }, "holds control");
    expect_refused([&](json& j) { j["nodes"][2]["attributes"]["mode"] = text; }, "holds control");
    expect_refused([&](json& j) { j["layers"][0]["attributes"]["mode"] = text; }, "holds control");
  }
  TensorFile renamed = original;
  json j = json_of_graph;
  j["nodes"][2]["name"] = j["nodes"][3]["inputs"][0] = "r\u00e9lu \u00b1";
  renamed.metadata["graph"] = j.dump();
  save_safetensors(file, renamed.metadata, renamed.tensors);
  EXPECT_NE(load_model(file).find("r\u00e9lu \u00b1"), nullptr);
}

TEST_F(HostileGraphTest, InputsAndTensorsTakeNoInputs) {
  expect_refused(
      [](json& j) {
        j["nodes"][1]["kind"] = "input";
        j["nodes"][1]["target"] = "";
      },
      "inputs");
  manual_seed(1);
  SavedNet net;
  start_from(nn::trace(net.eval(), Tensor(random_input({4, 2, 3}))));
  for (size_t i = 0; i < json_of_graph["nodes"].size(); ++i) {
    if (json_of_graph["nodes"][i]["kind"] != "tensor") continue;
    expect_refused([i](json& j) { j["nodes"][i]["inputs"] = {j["nodes"][0]["name"]}; }, "inputs");
    expect_refused([i](json& j) { j["nodes"][i]["attributes"]["dtype"] = "float3"; }, "float3");
    expect_refused([i](json& j) { j["nodes"][i]["attributes"]["shape"] = {-1}; }, "negative");
    expect_refused([i](json& j) { j["nodes"][i]["attributes"]["shape"] = std::vector<int>(9, 1); }, "dimensions");
    expect_refused([i](json& j) { j["nodes"][i]["attributes"].erase("parameter"); }, "parameter");
    expect_refused([i](json& j) { j["nodes"][i]["attributes"]["dtype"] = "int8"; }, "int8");
  }
}

TEST_F(HostileGraphTest, SizesBeyondReason) {
  for (const int64_t size : {int64_t{0}, int64_t{-1}, int64_t{1} << 31, int64_t{1} << 62, INT64_MAX}) {
    expect_refused([&](json& j) { j["layers"][0]["attributes"]["in_features"] = size; }, "");
    expect_refused(
        [&](json& j) {
          j["layers"][0]["attributes"]["in_features"] = size;
          j["layers"][0]["attributes"]["out_features"] = size;
        },
        "");
  }
  expect_refused([](json& j) { j["layers"][0]["attributes"]["in_features"] = 18446744073709551615u; }, "too large");
  expect_refused([](json& j) { j["layers"][0]["attributes"]["in_features"] = 5.5; }, "in_features");
  start_from(small_int8());
  for (const char* key : {"in_features", "out_features", "weight_bits", "input_bits", "input_zero_point"})
    for (const int64_t size : {int64_t{-1}, int64_t{1} << 20, int64_t{1} << 40, INT64_MAX})
      expect_refused(
          [&](json& j) {
            for (json& layer : j["layers"])
              if (layer["type"] == "QuantizedLinear") layer["attributes"][key] = size;
          },
          "");
  for (const json& scale : {json(0), json(-1.5), json(1e300), json{{"double", "inf"}}, json{{"double", "nan"}},
                            json("wide"), json(nullptr)})
    expect_refused(
        [&](json& j) {
          for (json& layer : j["layers"])
            if (layer["type"] == "QuantizedLinear") layer["attributes"]["input_scale"] = scale;
        },
        "");
}

TEST_F(HostileGraphTest, NaN) {
  const json nan{{"double", "nan"}}, list = json::array({0.5, nan});
  for (const json& value : {nan, list}) {
    expect_refused([&](json& j) { j["layers"][0]["attributes"]["bad"] = value; }, "'bad' is NaN");
    expect_refused([&](json& j) { j["nodes"][2]["attributes"]["bad"] = value; }, "'bad' is NaN");
  }
}

TEST_F(HostileGraphTest, TensorsThatDoNotFit) {
  TensorFile changed = original;
  changed.tensors.pop_back();
  EXPECT_THAT(refusal(changed), HasSubstr("no array is given for '"));
  changed = original;
  changed.tensors.emplace_back("extra", NDArray::ones({2}));
  EXPECT_THAT(refusal(changed), HasSubstr("there is no tensor 'extra'"));
  changed = original;
  changed.tensors.back().first = "another.name";
  EXPECT_THAT(refusal(changed), HasSubstr("no tensor 'another.name'"));
  changed = original;
  changed.tensors.back().second = NDArray::ones({1, 2, 3});
  EXPECT_THAT(refusal(changed), AllOf(HasSubstr("[1,2,3]"), HasSubstr(changed.tensors.back().first)));
  changed = original;
  changed.tensors.back().second = changed.tensors.back().second.to(DType::float64);
  EXPECT_THAT(refusal(changed), HasSubstr(changed.tensors.back().first));
}

TEST_F(HostileGraphTest, DepthAndNumbers) {
  EXPECT_THAT(refusal(std::string(100000, '[')), HasSubstr("nested deeper"));
  expect_refused(
      [](json& j) {
        json deep = 1;
        for (int i = 0; i < 200; ++i) deep = json::array({deep});
        j["nodes"][2]["attributes"]["deep"] = deep;
      },
      "nested deeper");
  expect_refused([](json& j) { j["nodes"] = json(std::vector<json>(65537, j["nodes"][0])); }, "at most 65536");
  expect_refused([](json& j) { j["layers"] = json(std::vector<json>(65537, j["layers"][0])); }, "at most 65536");
  // Were all of a list looked at after each entry, this would take minutes.
  std::string many = R"({"layers":[],"nodes":[{})";
  for (int i = 0; i < 1000000; ++i) many += ",{}";
  EXPECT_THAT(refusal(many + R"(],"output":""})"), HasSubstr("at most 65536"));
}

// Were each name looked for among all others, this would take minutes.
TEST_F(HostileGraphTest, AsManyNodesAsAllowedLoad) {
  json layers = json::array(), nodes = json::array();
  const auto add = [&](const std::string& name, const char* kind, const std::string& target, const json& inputs,
                       const json& attributes) {
    nodes.push_back(
        {{"name", name}, {"kind", kind}, {"target", target}, {"inputs", inputs}, {"attributes", attributes}});
  };
  const json none = json::object();
  TensorFile changed = original;
  changed.tensors.clear();
  add("n0", "input", "", json::array(), none);
  std::string last = "n0";
  for (int i = 1; i < 65536; ++i) {
    const std::string name = "n" + std::to_string(i);
    json inputs = json::array();
    inputs.push_back(last);
    if (i % 3 == 0) {
      add(name, "tensor", "t" + name, json::array(), {{"shape", {1}}, {"dtype", "float32"}, {"parameter", true}});
      changed.tensors.emplace_back("t" + name, NDArray::ones({1}));
      continue;
    }
    if (i % 3 == 1) {
      layers.push_back({{"name", name}, {"type", "Dropout"}, {"attributes", {{"p", 0.5}}}});
      add(name, "layer", name, inputs, none);
    } else {
      add(name, "op", "relu", inputs, none);
    }
    last = name;
  }
  changed.metadata["graph"] = json{{"layers", layers}, {"nodes", nodes}, {"output", last}}.dump();
  save_safetensors(file, changed.metadata, changed.tensors);
  const nn::Graph loaded = load_model(file);
  EXPECT_EQ(loaded.nodes().size(), 65536u);
  EXPECT_EQ(loaded.children().size(), 21845u);
  EXPECT_EQ(loaded.num_parameters(), 21845);
}

TEST_F(HostileGraphTest, Metadata) {
  using Metadata = std::map<std::string, std::string>;
  for (const char* key : {"format", "format_version", "graph", "notes"})
    expect_metadata_refused([&](Metadata& m) { m.erase(key); }, "not a Thimble model");
  expect_metadata_refused([](Metadata& m) { m.clear(); }, "not a Thimble model");
  expect_metadata_refused([](Metadata& m) { m["format"] = "pt"; }, "'pt'");
  for (const char* version : {"2.0", "", "1", "10.0", "0.9", "two\nlines"})
    expect_metadata_refused([&](Metadata& m) { m["format_version"] = version; }, "this program reads 1.x");
  expect_metadata_refused([](Metadata& m) { m["notes"] = "[]"; }, "attributes are array");
  expect_metadata_refused([](Metadata& m) { m["notes"] = "{\"a\": {\"b\": 1}}"; }, "'a'");
  expect_metadata_refused([](Metadata& m) { m["notes"] = std::string(1000, '['); }, "nested deeper");
  TensorFile newer = original;
  newer.metadata["format_version"] = "1.7";
  save_safetensors(file, newer.metadata, newer.tensors);
  load_model(file);
}

TEST_F(HostileGraphTest, OpsAndLayersWithTooFewOrTooManyInputs) {
  const json attributes{{"axis", 0},
                        {"axes", json::array({0})},
                        {"shape", {2, 5}},
                        {"start_dim", 0},
                        {"end_dim", -1},
                        {"keepdim", false},
                        {"dim0", 0},
                        {"dim1", 1},
                        {"negative_slope", 1.5},
                        {"p", 0.5},
                        {"reduction", "mean"}};
  int loaded = 0;
  for (const std::string& op : registered_ops())
    for (size_t inputs = 1; inputs <= 5; ++inputs) {
      json j{{"layers", json::array()}, {"output", "op"}};
      j["nodes"] = {{{"name", "input"},
                     {"kind", "input"},
                     {"target", ""},
                     {"inputs", json::array()},
                     {"attributes", json::object()}},
                    {{"name", "op"},
                     {"kind", "op"},
                     {"target", op},
                     {"inputs", std::vector<std::string>(inputs, "input")},
                     {"attributes", attributes}}};
      TensorFile changed{original.metadata, {}};
      changed.metadata["graph"] = j.dump();
      save_safetensors(file, changed.metadata, changed.tensors);
      SCOPED_TRACE(op + " with inputs: " + std::to_string(inputs));
      loaded += load(read_bytes(file)) == Outcome::model;
    }
  EXPECT_GT(loaded, 20);
  for (const auto& [op, inputs] : {std::pair("relu", 2), {"add", 1}, {"add", 3}, {"linear", 1}, {"linear", 4}})
    expect_refused(
        [&, op = op, inputs = inputs](json& j) {
          j["nodes"][2]["target"] = op;
          j["nodes"][2]["inputs"] = std::vector<json>(static_cast<size_t>(inputs), j["nodes"][0]["name"]);
        },
        str(op, ": takes"));
  for (const size_t inputs : {2, 3}) {
    json j = json_of_graph;
    j["nodes"][1]["inputs"] = std::vector<json>(inputs, j["nodes"][0]["name"]);
    TensorFile changed = original;
    changed.metadata["graph"] = j.dump();
    save_safetensors(file, changed.metadata, changed.tensors);
    nn::Graph graph = load_model(file);
    EXPECT_THROW(graph(Tensor(x)), Error);
  }
}

TEST_F(CheckpointTest, MissingFilesAndFoldersAreIOErrors) {
  EXPECT_THAT(message_of<IOError>([&] { load_model(folder / "missing"); }), HasSubstr("missing"));
  EXPECT_THAT(message_of<IOError>([&] { load_model(folder.path()); }), HasSubstr(folder.path().string()));
  EXPECT_THAT(message_of<IOError>([&] { save_model(small_mlp(), folder / "no" / "model"); }), HasSubstr("/no/model"));
}

TEST_F(CheckpointTest, WhatCannotBeSavedIsRefusedAndTheOldFileStays) {
  save_model(small_mlp(), file);
  const std::string bytes = read_bytes(file);
  EXPECT_THROW(save_model(nn::Graph(), file), ValueError);
  EXPECT_THROW(save_model(small_mlp(), file, {{"bad", std::string("\xff")}}), ValueError);
  nn::Graph unequal = small_mlp();
  unequal.output()->attributes.set("bad", std::vector<double>{1, std::nan("")});
  EXPECT_THAT(message_of<ValueError>([&] { save_model(unequal, file); }), HasSubstr("'bad' is NaN"));
  nn::Graph unprintable = small_mlp();
  unprintable.rename(unprintable.output(), "two\nlines");
  EXPECT_THAT(message_of<ValueError>([&] { save_model(unprintable, file); }), HasSubstr("'two\\nlines'"));
  EXPECT_TRUE(read_bytes(file) == bytes);
  EXPECT_EQ(folder.entries(), 1);
}

TEST_F(CheckpointTest, AFullDiskLeavesTheOldFileWhole) {
  nn::Graph graph = small_mlp();
  save_model(graph, file);
  const std::string bytes = read_bytes(file);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  for (const rlim_t limit : {size_t{0}, size_t{1}, size_t{100}, bytes.size() - 1}) {
    rlimit small = before;
    small.rlim_cur = limit;
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
    std::string message;
    try {
      save_model(graph, file);
    } catch (const IOError& e) {
      message = e.what();
    }
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
    EXPECT_THAT(message, HasSubstr(file.string())) << "limit " << limit;
    EXPECT_TRUE(read_bytes(file) == bytes);
    EXPECT_EQ(folder.entries(), 1) << "a temporary file was left";
  }
  std::signal(SIGXFSZ, handler);
}

}  // namespace
}  // namespace thimble
