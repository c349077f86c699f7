// Activations, small normalizations and containers: PyTorch's values, traces, what is refused.
#include <cmath>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/nn/random_input.h"
#include <thimble/core/gradcheck.h>
#include <thimble/core/ops.h>
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/layers/activation.h>
#include <thimble/nn/layers/batch_norm.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/conv.h>
#include <thimble/nn/layers/instance_norm.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/nn/layers/prelu.h>
#include <thimble/nn/layers/rms_norm.h>

namespace thimble::nn {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

json small_layer_cases(const char* part) {
  std::ifstream file(THIMBLE_TEST_DATA "/torch_small_layer_cases.json");
  return json::parse(file).at(part);
}

NDArray json_array(const json& j, DType dtype = DType::float64) {
  return NDArray::from_vector(j.at("values").get<std::vector<double>>(),
                              Shape(j.at("shape").get<std::vector<int64_t>>()))
      .to(dtype);
}

std::vector<double> doubles(const Tensor& t) { return t.data().to_vector<double>(); }

void expect_values(const Tensor& got, const json& expected, double tolerance) {
  const NDArray wanted = json_array(expected);
  ASSERT_EQ(got.shape(), wanted.shape());
  const auto g = doubles(got), w = wanted.to_vector<double>();
  for (size_t i = 0; i < w.size(); ++i) EXPECT_NEAR(g[i], w[i], tolerance * (1 + std::abs(w[i]))) << "element " << i;
}

std::shared_ptr<Module> layer_of(const std::string& name, const json& o) {
  const auto axis = o.value("axis", int64_t{0});
  if (name == "PReLU") return std::make_shared<PReLU>(o.at("num_parameters").get<int64_t>());
  if (name == "ELU") return std::make_shared<ELU>(o.at("alpha").get<double>());
  if (name == "SELU") return std::make_shared<SELU>();
  if (name == "CELU") return std::make_shared<CELU>(o.at("alpha").get<double>());
  if (name == "Softplus")
    return std::make_shared<Softplus>(o.at("beta").get<double>(), o.at("threshold").get<double>());
  if (name == "Softsign") return std::make_shared<Softsign>();
  if (name == "Mish") return std::make_shared<Mish>();
  if (name == "Hardtanh")
    return std::make_shared<Hardtanh>(o.at("min_val").get<double>(), o.at("max_val").get<double>());
  if (name == "GLU") return axis == -1 ? std::make_shared<GLU>() : std::make_shared<GLU>(axis);
  if (name == "LogSoftmax") return std::make_shared<LogSoftmax>(axis);
  if (name == "Identity") return std::make_shared<Identity>();
  if (name == "RMSNorm") {
    RMSNorm::Options options;
    options.eps = o.value("eps", options.eps);
    return std::make_shared<RMSNorm>(Shape(o.at("normalized_shape").get<std::vector<int64_t>>()), options);
  }
  const InstanceNorm::Options options{o.at("eps").get<double>(), o.at("affine").get<bool>()};
  if (name == "InstanceNorm1d") return std::make_shared<InstanceNorm1d>(3, options);
  if (name == "InstanceNorm2d") return std::make_shared<InstanceNorm2d>(3, options);
  if (name == "InstanceNorm3d") return std::make_shared<InstanceNorm3d>(2, options);
  throw ValueError("unknown layer " + name);
}

// The layer as a function of its input and its parameters, which then are of the inputs' dtype.
std::vector<Tensor> with_parameters(const json& c, DType dtype) {
  std::vector<Tensor> all{Tensor(json_array(c.at("input"), dtype), true)};
  for (const json& p : c.at("parameters")) all.emplace_back(json_array(p, dtype), true);
  return all;
}

Tensor as_function(const std::string& name, const json& o, Module& layer, const std::vector<Tensor>& in) {
  const Tensor weight = in.size() > 1 ? in[1] : Tensor(), bias = in.size() > 2 ? in[2] : Tensor();
  if (name == "PReLU") return prelu(in[0], weight);
  if (name == "RMSNorm")
    return rms_norm(in[0], Shape(o.at("normalized_shape").get<std::vector<int64_t>>()), weight,
                    o.value("eps", RMSNorm::Options().eps));
  if (name.starts_with("InstanceNorm")) return instance_norm(in[0], weight, bias, o.at("eps").get<double>());
  return layer.forward(in[0]);
}

TEST(SmallLayers, HavePyTorchsValuesAndGradients) {
  const json cases = small_layer_cases("cases");
  ASSERT_GE(cases.size(), 18u);
  for (const json& c : cases) {
    const auto name = c.at("layer").get<std::string>();
    SCOPED_TRACE(name + ' ' + c.at("options").dump());
    const auto layer = layer_of(name, c.at("options"));
    // The layer, in float32.
    const std::vector<Tensor> own = with_parameters(c, DType::float32);
    ASSERT_EQ(layer->parameters().size(), own.size() - 1);
    for (size_t i = 1; i < own.size(); ++i) layer->parameters()[i - 1].set_data(own[i].data());
    expect_values((*layer)(own[0]), c.at("output"), 3e-6);
    // Its function, in float64.
    const std::vector<Tensor> in = with_parameters(c, DType::float64);
    const Tensor y = as_function(name, c.at("options"), *layer, in);
    expect_values(y, c.at("output"), 1e-12);
    const auto grads = grad(y, in, Tensor(json_array(c.at("out_grad"))));
    for (size_t i = 0; i < grads.size(); ++i) expect_values(grads[i], c.at("grads").at(i), 1e-11);
  }
}

TEST(SmallLayers, GradientsAgreeWithDifferences) {
  for (const json& c : small_layer_cases("cases")) {
    const auto name = c.at("layer").get<std::string>();
    if (name == "Identity") continue;
    SCOPED_TRACE(name + ' ' + c.at("options").dump());
    const auto layer = layer_of(name, c.at("options"));
    std::vector<NDArray> arrays;
    for (const Tensor& x : with_parameters(c, DType::float64)) arrays.push_back(x.data());
    const auto f = [&](const std::vector<Tensor>& in) {
      const Tensor y = as_function(name, c.at("options"), *layer, in);
      return y * y;
    };
    gradcheck(f, arrays);
    gradgradcheck(f, arrays);
  }
}

// In a graph they are ops, under their own names, and run on batches of any size.
TEST(SmallLayers, TraceToOps) {
  for (const json& c : small_layer_cases("cases")) {
    const auto name = c.at("layer").get<std::string>();
    SCOPED_TRACE(name + ' ' + c.at("options").dump());
    Sequential model;
    model.add(layer_of(name, c.at("options")));
    const std::vector<Tensor> own = with_parameters(c, DType::float32);
    for (size_t i = 1; i < own.size(); ++i) model.parameters()[i - 1].set_data(own[i].data());
    model.eval();
    const Tensor x(own[0].data());
    Graph graph = trace(model, x);
    EXPECT_EQ(graph.num_parameters(), model.num_parameters());
    EXPECT_EQ(doubles(graph(x)), doubles(model(x)));
    const Tensor twice = concat({x, x});
    EXPECT_EQ(doubles(graph(twice)), doubles(model(twice)));
  }
  PReLU act;
  act.eval();
  const Graph graph = trace(act, NDArray::ones({1, 3}));
  EXPECT_EQ(graph.output()->target, "prelu");
}

TEST(SmallLayers, RefuseWhatDoesNotFit) {
  EXPECT_THROW(PReLU(0), ValueError);
  EXPECT_THROW(Hardtanh(1, 1), ValueError);
  EXPECT_THROW(GLU()(NDArray::ones({2, 3})), ShapeError);
  EXPECT_THROW(InstanceNorm2d(0), ValueError);
  EXPECT_THROW(InstanceNorm2d(3, {.eps = 0}), ValueError);
  EXPECT_THAT(
      [] {
        InstanceNorm2d(3)(NDArray::ones({2, 3, 4}));
      },
      ThrowsMessage<ShapeError>(HasSubstr("4 dimensions")));
  EXPECT_THAT([] { InstanceNorm1d(3)(NDArray::ones({2, 4, 4})); }, ThrowsMessage<ShapeError>(HasSubstr("3 channels")));
  EXPECT_THAT(
      [] {
        InstanceNorm1d(3)(NDArray::ones({2, 3, 1}));
      },
      ThrowsMessage<ValueError>(HasSubstr("more than 1 value per channel")));
  EXPECT_THROW(instance_norm(NDArray::ones({2, 3})), ShapeError);
  EXPECT_THROW(RMSNorm(Shape{}), ValueError);
  EXPECT_THROW(RMSNorm({3}, {.eps = -1}), ValueError);
  EXPECT_THROW(RMSNorm({3})(NDArray::ones({2, 4})), ShapeError);
  EXPECT_THROW(rms_norm(NDArray::ones({2, 3}), {3}, NDArray::ones({2})), ShapeError);
  EXPECT_THROW(rms_norm(NDArray::ones({3}), {2, 3}), ShapeError);
}

TEST(BatchNormStatistics, AreThoseOfPyTorch) {
  const json cases = small_layer_cases("batch_norm");
  ASSERT_EQ(cases.size(), 4u);
  for (const json& c : cases) {
    SCOPED_TRACE(c.at("options").dump());
    const json& o = c.at("options");
    BatchNorm2d::Options options;
    if (o.contains("momentum"))
      options.momentum = o.at("momentum").is_null() ? std::nullopt : std::optional(o.at("momentum").get<double>());
    options.affine = o.value("affine", true);
    options.track_running_stats = o.value("track_running_stats", true);
    BatchNorm2d norm(3, options);
    for (size_t i = 0; i < 4; ++i) {
      norm.train(i < 3);
      const Tensor y = norm(json_array(c.at("batches").at(i), DType::float32));
      expect_values(y, c.at("outputs").at(i), 2e-6);
    }
    EXPECT_EQ(norm.named_buffers().empty(), c.at("state").empty());
    for (const auto& [name, expected] : c.at("state").items())
      expect_values(name == "running_mean" ? norm.running_mean : norm.running_var, expected, 2e-6);
  }
}

TEST(BatchNormStatistics, ThatAreMeansOfAllBatchesAreCopied) {
  BatchNorm1d norm(4, {.momentum = std::nullopt});
  norm(random({3, 4}, 1));
  norm(random({3, 4}, 2));
  const auto copy = copy_layer(norm);
  EXPECT_EQ(copy->attributes(), norm.attributes());
  for (const auto& layer : {copy.get(), static_cast<Module*>(&norm)}) (*layer)(random({3, 4}, 3));
  const NamedTensors a = norm.state(), b = copy->state();
  for (size_t i = 0; i < a.size(); ++i) EXPECT_EQ(doubles(a[i].second), doubles(b[i].second)) << a[i].first;
}

// Without running statistics the batch's normalize in evaluation, too: an op in a graph, and no layer that fusion
// knows.
TEST(BatchNormStatistics, AreNotNeeded) {
  Sequential model(Conv2d(2, 4, 3), BatchNorm2d(4, {.track_running_stats = false}));
  const Tensor x = random({5, 2, 6, 6});
  EXPECT_THAT(model.named_buffers(), ElementsAre());
  const auto in_training = doubles(model(x));
  model.eval();
  EXPECT_EQ(doubles(model(x)), in_training);
  Graph graph = trace(model, x);
  EXPECT_EQ(graph.output()->target, "batch_norm_train");
  EXPECT_EQ(doubles(graph(x)), in_training);
  const Tensor other = random({3, 2, 6, 6}, 9);
  EXPECT_EQ(doubles(graph(other)), doubles(model(other)));
  EXPECT_THROW(BatchNorm2d(4, {.affine = false, .track_running_stats = false})(random({2, 3, 4, 4})), ShapeError);
}

// A residual tower of a number of blocks that is known at run time, with a head that is chosen by name.
struct Tower : Module {
  Submodule<ModuleList> blocks{this, "blocks"};
  Submodule<ModuleDict> heads{this, "heads"};
  std::string head = "left";

  Tower() {
    for (int i = 0; i < 3; ++i) blocks->emplace<Linear>(4, 4);
    heads->emplace<Linear>("left", 4, 2).add("right", std::make_shared<Linear>(4, 3));
  }
  Tensor forward(const Tensor& x) override {
    Tensor h = x;
    for (const auto& [name, block] : blocks->children()) h = h + (*block)(h);
    return (*heads)[head](h);
  }
};

TEST(Containers, ListsAndDictionariesHoldModulesByNumberAndName) {
  Tower tower;
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tower.named_parameters()) names.push_back(name);
  EXPECT_THAT(names, ElementsAre("blocks.0.weight", "blocks.0.bias", "blocks.1.weight", "blocks.1.bias",
                                 "blocks.2.weight", "blocks.2.bias", "heads.left.weight", "heads.left.bias",
                                 "heads.right.weight", "heads.right.bias"));
  EXPECT_EQ(tower.blocks->size(), 3);
  EXPECT_EQ(&(*tower.blocks)[-1], &(*tower.blocks)[2]);
  EXPECT_THAT([&] { (*tower.blocks)[3]; }, ThrowsMessage<ValueError>("ModuleList: there is no module 3 of 3"));
  EXPECT_THROW((*tower.blocks)[-4], ValueError);
  EXPECT_EQ(tower.heads->size(), 2);
  EXPECT_TRUE(tower.heads->contains("right"));
  EXPECT_FALSE(tower.heads->contains("up"));
  EXPECT_THAT([&] { (*tower.heads)["up"]; }, ThrowsMessage<ValueError>("ModuleDict: there is no module 'up'"));
  EXPECT_THROW(tower.heads->emplace<Linear>("left", 1, 1), ValueError);

  tower(random({2, 4})).backward(NDArray::ones({2, 2}));
  EXPECT_TRUE((*tower.blocks)[0].parameters()[0].grad().defined());
  tower.eval();
  Graph graph = trace(tower, random({1, 4}));
  const Tensor x = random({3, 4}, 5);
  EXPECT_EQ(doubles(graph(x)), doubles(tower(x)));
  EXPECT_NE(graph.find("blocks.1"), nullptr);
  EXPECT_THROW(ModuleList()(x), Error);
  ModuleList made{Linear(4, 4), ReLU()};
  EXPECT_EQ(made.size(), 2);
}

}  // namespace
}  // namespace thimble::nn
