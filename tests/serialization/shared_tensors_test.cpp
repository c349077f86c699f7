// Tensors that have their elements in common are in a file once, and have them in common again when they are loaded.
#include <gmock/gmock.h>

#include "tests/serialization/round_trip.h"
#include <thimble/core/ops.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/nn/training/optim/optimizer.h>
#include <thimble/serialization/checkpoint.h>
#include <thimble/serialization/safetensors.h>

namespace thimble {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kKey = "shared_tensors";

class SharedTensors : public CheckpointTest {
 protected:
  // b has a's weight, and a bias of its own.
  nn::Graph two_layers() {
    manual_seed(1);
    nn::Graph graph;
    const auto first = std::make_shared<nn::Linear>(5, 5), second = std::make_shared<nn::Linear>(5, 5);
    second->weight.set_data(first->weight.data().lazy_clone());
    second->bias.set_data(random_input({5}));
    nn::Node* a = graph.add_layer("a", first, {graph.add_input("input")});
    graph.set_output(graph.add_layer("b", second, {a}));
    return graph;
  }

  static const nn::Linear& linear(const nn::Graph& graph, const char* name) {
    return *graph.layer_as<nn::Linear>(graph.find(name));
  }

  std::string error_of(const std::string& shared) {
    TensorFile other = load_safetensors(file, {.mapped = false});
    other.metadata[kKey] = shared;
    save_safetensors(folder / "bad", other);
    try {
      load_model(folder / "bad");
    } catch (const FormatError& e) {
      return e.what();
    }
    return "it loads";
  }
};

TEST_F(SharedTensors, AreWrittenOnceAndShareAgain) {
  nn::Graph graph = two_layers();
  const Tensor x = random_input({3, 5});
  const nn::Graph loaded = expect_round_trip(graph, x);
  const TensorFile content = load_safetensors(file);
  EXPECT_EQ(content.tensors.size(), 3u);
  EXPECT_EQ(content.metadata.at(kKey), R"({"b.weight":"a.weight"})");
  EXPECT_TRUE(verify_safetensors(file));
  EXPECT_EQ(linear(loaded, "a").weight.data().address(), linear(loaded, "b").weight.data().address());
  const nn::Graph read = load_model(file, {.mapped = false});
  EXPECT_EQ(linear(read, "a").weight.data().address(), linear(read, "b").weight.data().address());
}

TEST_F(SharedTensors, FilesWithoutAnySayNothing) {
  nn::Graph graph = two_layers();
  graph.layer_as<nn::Linear>(graph.find("b"))->weight.mutable_data().fill(1);
  save_model(graph, file);
  EXPECT_FALSE(load_safetensors(file).metadata.contains(kKey));
}

// They are no parameter in common.
TEST_F(SharedTensors, AreTrainedApart) {
  save_model(two_layers(), file);
  nn::Graph loaded = load_model(file);
  loaded.train();
  optim::SGD sgd(loaded.parameters(), {.lr = 0.1});
  const auto before = linear(loaded, "a").weight.data().to_vector<float>();
  const Tensor y = loaded(Tensor(random_input({3, 5})));
  sum(y * y).backward();
  const auto gradient_a = linear(loaded, "a").weight.grad().data().to_vector<float>(),
             gradient_b = linear(loaded, "b").weight.grad().data().to_vector<float>();
  sgd.step();
  const auto a = linear(loaded, "a").weight.data().to_vector<float>(),
             b = linear(loaded, "b").weight.data().to_vector<float>();
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_NEAR(a[i], before[i] - 0.1f * gradient_a[i], 1e-6);
    EXPECT_NEAR(b[i], before[i] - 0.1f * gradient_b[i], 1e-6);
  }
}

TEST_F(SharedTensors, WhatAFileSaysWronglyIsOneClearError) {
  save_model(two_layers(), file);
  const std::pair<const char*, const char*> cases[] = {
      {"", "shared_tensors"},
      {"[1", "shared_tensors"},
      {"[]", "shared_tensors: expected an object of names"},
      {R"({"b.weight":1})", "shared_tensors: that of 'b.weight' is no name"},
      {R"({"b.weight":"c.weight"})", "'b.weight' is to share the elements of 'c.weight', which the file does not hold"},
      {R"({"b.weight":"b.weight"})", "'b.weight' is to share the elements of 'b.weight', which the file does not hold"},
      {R"({"b.weight":"a.bias"})", "load_state: 'b.weight': shape [5] is not [5,5]"},
      {R"({"b.weight":"a.weight","b.bias":"a.bias"})", "shared_tensors: the file holds 'b.bias' itself, too"},
      {R"({"b.weight":"a.weight","c":"a.weight"})", "there is no tensor 'c'"},
      {R"({"b.weight":"a.weight","\u001b[2J":"b"})", "shared_tensors"},
      {"{}", "no array is given for 'b.weight'"}};
  for (const auto& [shared, expected] : cases)
    EXPECT_THAT(error_of(shared),
                AllOf(HasSubstr("bad"), HasSubstr(expected), Not(HasSubstr("\n")), Not(HasSubstr("\x1b"))))
        << shared;
  EXPECT_EQ(error_of(R"({"b.weight":"a.weight"})"), "it loads");
}

// Views of one array have elements in common, but other ones.
TEST_F(SharedTensors, ViewsThatDifferAreWrittenApart) {
  nn::Graph graph;
  const NDArray both = random_input({2, 5, 5});
  const auto part = [&](int64_t i) { return both.slice(0, i, i + 1).reshape({5, 5}); };
  const auto layer = [&](const NDArray& weight) {
    const auto made = std::make_shared<nn::Linear>(5, 5, nn::Linear::Options{.bias = false});
    made->weight.set_data(weight);
    return made;
  };
  nn::Node* node = graph.add_input("input");
  for (const NDArray& weight : {part(0), part(1), part(0).transpose(0, 1), part(0)})
    node = graph.add_layer("layer", layer(weight), {node});
  graph.set_output(node);
  expect_round_trip(graph, Tensor(random_input({2, 5})));
  EXPECT_EQ(load_safetensors(file).tensors.size(), 3u);
}

}  // namespace
}  // namespace thimble
