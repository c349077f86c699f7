// Files that every later version must load: tests/data/format/VERSION/NAME.safetensors, each beside NAME.json with an
// input and what the program that wrote them made of it. When the format's version grows, run once
//
//   THIMBLE_WRITE_SAMPLES=tests/data/format/1.5 build/release/tests/serialization_tests
//   --gtest_filter='FormatSamples.*'
//
// and commit the folder. The folders of older versions never change.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <set>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/serialization/round_trip.h"
#include "tests/training_run.h"
#include <thimble/core/ops.h>
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/layers/activation.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/conv.h>
#include <thimble/nn/layers/conv_bn_relu.h>
#include <thimble/nn/layers/group_norm.h>
#include <thimble/nn/layers/layer_norm.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/nn/layers/pool.h>
#include <thimble/quant/passes/dynamic.h>
#include <thimble/quant/passes/fuse.h>
#include <thimble/quant/passes/weight_only.h>
#include <thimble/quant/quantize.h>
#include <thimble/serialization/checkpoint.h>
#include <thimble/serialization/safetensors.h>
#include <thimble/serialization/training_state.h>

namespace thimble {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const fs::path kSamples = THIMBLE_TEST_DATA "/format";
constexpr const char* kTrainingState = "training_state";
constexpr const char* kFrozen = "frozen_mlp";   // its first parameter is
constexpr const char* kShared = "shared_int8";  // one layer that is called three times
constexpr const char* kPairs = "static_int8_pairs";

nn::Graph sample_mlp() {
  manual_seed(1);
  nn::Sequential model(nn::Linear(8, 6), nn::ReLU(), nn::Linear(6, 3));
  return nn::trace(model.eval(), Tensor(random_input({2, 8})));
}

nn::Graph sample_cnn() {
  manual_seed(2);
  struct Net : nn::Module {
    nn::Submodule<nn::ConvBNReLU> a{this, "a", 2, 4, 3, nn::Conv2d::Options{.padding = 1}};
    nn::Submodule<nn::ConvBNReLU> b{this, "b", 4, 4, 3, nn::Conv2d::Options{.padding = 1, .bias = false}};
    nn::Submodule<nn::MaxPool2d> pool{this, "pool", 2};
    nn::Submodule<nn::Linear> fc{this, "fc", 16, 3};
    Tensor forward(const Tensor& x) override {
      Tensor h = pool(a(x));
      h = relu(h + b(h));
      return fc(flatten(h, 1));
    }
  } model;
  const Tensor x = random_input({3, 2, 4, 4});
  model(x);  // so that the normalizations have statistics of their own
  return nn::trace(model.eval(), x);
}

nn::Graph sample_attention() {
  manual_seed(3);
  struct Net : nn::Module {
    nn::Submodule<nn::LayerNorm> norm{this, "norm", Shape{6}};
    nn::Submodule<nn::Linear> qkv{this, "qkv", 6, 12};
    nn::Submodule<nn::Linear> fc{this, "fc", 4, 3};
    Tensor forward(const Tensor& x) override {
      const Tensor parts = qkv(norm(x + x));
      const auto part = [&](int64_t i) { return slice(parts, 2, 4 * i, 4 * (i + 1)); };
      const Tensor weights = softmax(0.5 * matmul(part(0), transpose(part(1), 1, 2)), -1);
      return fc(mean(matmul(weights, part(2)), {1}));
    }
  } model;
  return nn::trace(model.eval(), Tensor(random_input({2, 5, 6})));
}

nn::Graph sample_pairs() {
  manual_seed(4);
  struct Net : nn::Module {
    nn::Submodule<nn::Conv2d> a{this, "a", 2, 4, 3, nn::Conv2d::Options{.padding = 1}}, b{this, "b", 2, 4, 1},
        last{this, "last", 4, 2, 1};
    nn::Submodule<nn::GroupNorm> norm{this, "norm", 2, 4};
    Tensor forward(const Tensor& x) override {
      const Tensor y = a(x), z = norm(b(x));
      return flatten(last(maximum(y - z, minimum(y, z))), 1);
    }
  } model;
  return nn::trace(model.eval(), Tensor(random_input({2, 2, 4, 4})));
}

nn::Graph sample_of_calls() {
  manual_seed(3);
  struct Net : nn::Module {
    nn::Submodule<nn::Linear> shared{this, "shared", 8, 8}, fc{this, "fc", 8, 3};
    Tensor forward(const Tensor& x) override {
      Tensor h = x;
      for (int i = 0; i < 3; ++i) h = relu(shared(h));
      return fc(h);
    }
  } model;
  return nn::trace(model.eval(), Tensor(random_input({2, 8})));
}

struct Sample {
  std::string name;
  nn::Graph graph;
  Shape input;
  bool exact;  // integer layers alone
};

std::vector<Sample> make_samples() {
  const auto int8 = [](const nn::Graph& graph, const Shape& shape) {
    return quant::quantize_model(graph, [&](nn::Graph& prepared) { prepared(Tensor(random_input(shape, 5))); });
  };
  const quant::QuantizationSpec int4{
      .bits = 4, .is_signed = true, .scheme = quant::QScheme::symmetric, .axis = 0, .group_size = 2};
  std::vector<Sample> samples;
  samples.push_back({"float_mlp", sample_mlp(), {4, 8}, false});
  samples.push_back({kFrozen, sample_mlp(), {4, 8}, false});
  samples.back().graph.parameters().at(0).set_requires_grad(false);
  samples.push_back({"fused_cnn", quant::fuse_conv_bn_relu(sample_cnn()), {2, 2, 4, 4}, false});
  samples.push_back({"static_int8_mlp", int8(sample_mlp(), {16, 8}), {4, 8}, true});
  samples.push_back({"static_int8_attention", int8(sample_attention(), {8, 5, 6}), {2, 5, 6}, true});  // since 1.3
  samples.push_back({"static_int8_cnn", int8(sample_cnn(), {8, 2, 4, 4}), {2, 2, 4, 4}, true});
  samples.push_back(
      {"weight_only_int4",
       quant::quantize_weight_only(sample_mlp(), quant::QConfigMapping().set_global(quant::QConfig{.weight = int4})),
       {4, 8},
       true});
  samples.push_back({"dynamic_int8", quant::quantize_dynamic(sample_mlp()), {4, 8}, true});
  samples.push_back({kShared, int8(sample_of_calls(), {16, 8}), {4, 8}, true});
  samples.push_back({kPairs, int8(sample_pairs(), {8, 2, 4, 4}), {2, 2, 4, 4}, true});
  return samples;
}

void write_samples(const fs::path& to) {
  fs::create_directories(to);
  for (Sample& sample : make_samples()) {
    sample.graph.eval();
    save_model(sample.graph, to / (sample.name + ".safetensors"), {{"sample", sample.name}});
    const NDArray x = random_input(sample.input, 7);
    const json expected{{"exact", sample.exact},
                        {"shape", sample.input.to_vector()},
                        {"input", x.to_vector<float>()},
                        {"output", sample.graph(Tensor(x)).data().to_vector<float>()}};
    write_bytes(to / (sample.name + ".json"), expected.dump() + '\n');
  }
}

TEST(FormatSamples, FilesOfEveryVersionLoadAndComputeWhatTheyDid) {
  if (const char* folder = std::getenv("THIMBLE_WRITE_SAMPLES")) write_samples(folder);
  std::map<std::string, std::set<std::string>> found;  // names by version
  for (const auto& entry : fs::recursive_directory_iterator(kSamples)) {
    const std::string name = entry.path().stem();
    if (entry.path().extension() != ".safetensors" || name == kTrainingState) continue;
    SCOPED_TRACE(entry.path());
    found[entry.path().parent_path().filename()].insert(name);
    Checkpoint checkpoint = load_checkpoint(entry.path());
    EXPECT_EQ(verify_safetensors(entry.path()), entry.path().parent_path().filename() != "1.0");
    EXPECT_EQ(checkpoint.notes, (Attributes{{"sample", name}}));
    const std::vector<Tensor> parameters = checkpoint.graph.parameters();
    for (size_t i = 0; i < parameters.size(); ++i)
      EXPECT_EQ(parameters[i].requires_grad(), name != kFrozen || i > 0) << i;
    const json expected = json::parse(read_bytes(fs::path(entry.path()).replace_extension(".json")));
    const Tensor x = NDArray::from_vector(expected.at("input").get<std::vector<float>>(),
                                          Shape(expected.at("shape").get<std::vector<int64_t>>()));
    const auto before = expected.at("output").get<std::vector<float>>();
    const auto now = checkpoint.graph(x).data().to_vector<float>();
    if (expected.at("exact").get<bool>()) {
      EXPECT_EQ(now, before);
      continue;
    }
    ASSERT_EQ(now.size(), before.size());
    for (size_t i = 0; i < now.size(); ++i) EXPECT_NEAR(now[i], before[i], 1e-5 * (1 + std::abs(before[i])));
  }
  std::set<std::string> all{"float_mlp",       "fused_cnn",        "static_int8_mlp",
                            "static_int8_cnn", "weight_only_int4", "dynamic_int8"};
  for (const char* version : {"1.0", "1.1"}) EXPECT_EQ(found[version], all) << version;
  all.insert(kFrozen);
  EXPECT_EQ(found["1.2"], all);
  all.insert({kShared, kPairs});
  EXPECT_EQ(found["1.4"], all);
}

Attributes sample_progress() {
  return {{"epoch", int64_t{2}},
          {"step", int64_t{5}},
          {"loss_sum", 0.75},
          {"settings.model", std::string("mlp")},
          {"settings.lsq", false},
          {"epochs.train_loss", std::vector<double>{0.5, HUGE_VAL}},
          {"sizes", std::vector<int64_t>{1, 2}}};
}

void write_training_state(const fs::path& to) {
  SmallTrainingRun run;
  run.steps(5);
  const TrainingState state = run.state(sample_progress());
  save_training_state(to / (std::string(kTrainingState) + ".safetensors"), state);
  const json expected{
      {"lr", state.lr}, {"generator", {state.generator.key, state.generator.position}}, {"losses", run.steps(5)}};
  write_bytes(to / (std::string(kTrainingState) + ".json"), expected.dump() + '\n');
}

TEST(FormatSamples, HaveTheLayersOfTwoValues) {
  const nn::Graph graph = load_checkpoint(kSamples / "1.4" / (std::string(kPairs) + ".safetensors")).graph;
  for (const char* type : {"QuantizedSub", "QuantizedMaximum", "QuantizedMinimum", "QuantizedGroupNorm"})
    EXPECT_EQ(std::ranges::count_if(graph.nodes(), [&](const nn::Node* node) { return graph.is_layer(node, type); }), 1)
        << type;
}

TEST(FormatSamples, TrainingStatesOfEveryVersionLoadAndGoOnAsTheyDid) {
  if (const char* folder = std::getenv("THIMBLE_WRITE_SAMPLES")) write_training_state(folder);
  for (const char* version : {"1.1", "1.2", "1.4"}) {
    const fs::path path = kSamples / version / (std::string(kTrainingState) + ".safetensors");
    SCOPED_TRACE(path);
    const TrainingState state = load_training_state(path);
    const json expected = json::parse(read_bytes(fs::path(path).replace_extension(".json")));
    EXPECT_EQ(state.progress, sample_progress());
    EXPECT_EQ(state.lr, expected.at("lr").get<double>());
    EXPECT_EQ(state.generator.key, expected.at("generator").at(0).get<uint64_t>());
    EXPECT_EQ(state.generator.position, expected.at("generator").at(1).get<uint64_t>());
    SmallTrainingRun run;
    run.restore(state);
    for (const double loss : expected.at("losses").get<std::vector<double>>()) EXPECT_NEAR(run.step(), loss, 1e-4);
  }
}

}  // namespace
}  // namespace thimble
