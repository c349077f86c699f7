#include <cmath>
#include <map>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thimble/core/random.h>
#include <thimble/nn/layers/activation.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/dropout.h>
#include <thimble/nn/layers/embedding.h>
#include <thimble/nn/layers/layer_norm.h>
#include <thimble/nn/layers/linear.h>

namespace thimble::nn {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

struct InnerBlock : Module {
  Submodule<Linear> fc{this, "fc", 3, 3, {.bias = false}};
  Tensor forward(const Tensor& x) override { return relu(fc(x)); }
};

struct NestedNet : Module {
  Submodule<InnerBlock> block1{this, "block1"}, block2{this, "block2"};
  Submodule<Linear> head{this, "head", 3, 2};
  Tensor scale = register_parameter("scale", NDArray::ones({1}));
  Tensor forward(const Tensor& x) override { return head(block2(block1(x))) * scale; }
};

std::vector<std::string> names(const NamedTensors& tensors) {
  std::vector<std::string> all;
  for (const auto& [name, tensor] : tensors) all.push_back(name);
  return all;
}

TEST(Module, ListsParametersUnderQualifiedNames) {
  NestedNet net;
  EXPECT_THAT(names(net.named_parameters()),
              ElementsAre("scale", "block1.fc.weight", "block2.fc.weight", "head.weight", "head.bias"));
  EXPECT_EQ(net.num_parameters(), 1 + 9 + 9 + 6 + 2);
  for (const Tensor& p : net.parameters()) EXPECT_TRUE(p.requires_grad());
}

TEST(Module, ListsASharedModuleOnce) {
  auto shared = std::make_shared<Linear>(2, 2);
  Sequential net;
  net.add(shared).add(shared);
  EXPECT_THAT(names(net.named_parameters()), ElementsAre("0.weight", "0.bias"));
  EXPECT_EQ(net.named_modules().size(), 2u);
}

TEST(Module, RejectsNamesThatAreTaken) {
  NestedNet net;
  EXPECT_THROW(net.register_module("head", std::make_shared<ReLU>()), ValueError);
  EXPECT_THROW(net.register_module("scale", std::make_shared<ReLU>()), ValueError);
  EXPECT_THROW(net.register_module("other", nullptr), ValueError);
}

TEST(Module, TrainAndEvalReachAllDescendants) {
  NestedNet net;
  net.eval();
  for (const auto& [path, module] : net.named_modules()) EXPECT_FALSE(module->training()) << path;
  net.train();
  for (const auto& [path, module] : net.named_modules()) EXPECT_TRUE(module->training()) << path;
}

TEST(Module, ErrorsNameTheLayerAndTheNumbers) {
  NestedNet net;
  try {
    net(Tensor(NDArray::zeros({4, 5})));
    FAIL() << "a wrong shape was accepted";
  } catch (const ShapeError& e) {
    EXPECT_THAT(e.what(), HasSubstr("block1.fc: linear"));
    EXPECT_THAT(e.what(), HasSubstr("[4,5]"));
    EXPECT_THAT(e.what(), HasSubstr("[3,3]"));
  }
}

TEST(Module, LoadStateReplacesByNameAndChecks) {
  NestedNet a, b;
  NamedArrays arrays;
  for (const auto& [name, tensor] : a.state()) arrays.emplace_back(name, tensor.data().clone());
  b.load_state(arrays);
  const Tensor x(NDArray::ones({2, 3}));
  EXPECT_EQ(a(x).data().to_vector<float>(), b(x).data().to_vector<float>());

  auto wrong = arrays;
  wrong.back().second = NDArray::zeros({7});
  EXPECT_THROW(b.load_state(wrong), ShapeError);
  wrong.back() = {"head.bias", NDArray()};
  EXPECT_THROW(b.load_state(wrong), ValueError);
  wrong.back() = {"head.bias", NDArray::zeros({2}, DType::float64)};
  EXPECT_THROW(b.load_state(wrong), DTypeError);
  wrong.back() = {"tail.bias", NDArray::zeros({2})};
  EXPECT_THROW(b.load_state(wrong), ValueError);
  wrong.pop_back();
  EXPECT_THROW(b.load_state(wrong), ValueError);
}

// A plain member is in no parameters().
struct Plain : Module {
  Linear fc{3, 3};
  ReLU act;
  Tensor forward(const Tensor& x) override { return act(fc(x)); }
};

void expect_not_registered(Module& net, const std::string& type) {
  const Tensor x(NDArray::ones({2, 3}));
  try {
    net(x);
    FAIL() << "an unregistered " << type << " was called";
  } catch (const ValueError& e) {
    EXPECT_THAT(e.what(), HasSubstr("nn::Submodule<" + type + ">"));
  }
  EXPECT_NO_THROW(no_grad([&] { return net(x); }));
}

TEST(ModuleCalls, OfATrainableLayerThatIsNotRegisteredAreAnError) {
  Plain net;
  expect_not_registered(net, "nn::Linear");
  net.eval();
  expect_not_registered(net, "nn::Linear");

  struct PlainBlock : Module {  // whose own layer is registered, but with nobody's descendant
    InnerBlock block;
    Tensor forward(const Tensor& x) override { return block(x); }
  } plain_block;
  try {
    plain_block(Tensor(NDArray::ones({2, 3})));
    FAIL() << "an unregistered block was called";
  } catch (const ValueError& e) {
    EXPECT_THAT(e.what(), HasSubstr("InnerBlock"));
  }

  struct Bypass : Module {
    InnerBlock block;
    Tensor forward(const Tensor& x) override { return block.forward(x); }
  } bypass;
  expect_not_registered(bypass, "nn::Linear");

  struct Pointers : Module {
    std::vector<std::shared_ptr<Module>> layers{std::make_shared<Linear>(3, 3)};
    Tensor forward(const Tensor& x) override { return (*layers[0])(x); }
  } pointers;
  expect_not_registered(pointers, "nn::Linear");

  struct Outer : Module {  // deep inside
    Submodule<Plain> inner{this, "inner"};
    Tensor forward(const Tensor& x) override { return inner(x); }
  } outer;
  expect_not_registered(outer, "nn::Linear");
}

TEST(ModuleCalls, OfWhatIsNotTrainedOrOfThisModelAreNone) {
  const Tensor x(NDArray::ones({2, 3}));
  Plain frozen;
  for (const Tensor& p : frozen.fc.parameters()) p.set_requires_grad(false);
  EXPECT_NO_THROW(frozen(x));

  struct Student : Module {
    explicit Student(NestedNet& its_teacher) : teacher(its_teacher) {}
    NestedNet& teacher;
    Submodule<Linear> fc{this, "fc", 3, 2};
    Tensor forward(const Tensor& input) override { return fc(input) - teacher(input); }
  };
  NestedNet teacher;
  for (const Tensor& p : teacher.parameters()) p.set_requires_grad(false);
  Student student(teacher);
  EXPECT_NO_THROW(student(x));

  struct Sharing : Module {  // a block calls a layer that its parent holds
    struct User : Module {
      std::shared_ptr<Linear> shared;
      Tensor forward(const Tensor& input) override { return (*shared)(input); }
    };
    std::shared_ptr<Linear> layer = std::make_shared<Linear>(3, 3);
    Submodule<User> a{this, "a"}, b{this, "b"};
    Sharing() {
      register_module("shared", layer);
      a->shared = b->shared = layer;
    }
    Tensor forward(const Tensor& input) override { return b(a(input)); }
  } sharing;
  EXPECT_NO_THROW(sharing(x));

  Linear alone(3, 3);
  EXPECT_NO_THROW(alone(x));
  Sequential whole(Linear(3, 3), Residual(std::make_shared<Linear>(3, 3)));
  EXPECT_NO_THROW(whole(x));
  whole.add(std::make_shared<Linear>(3, 3));  // after it was called
  EXPECT_NO_THROW(whole(x));
}

TEST(ModuleCalls, AfterAChildWasMovedIntoAnother) {
  struct Holder : Module {
    Submodule<Sequential> body{this, "body", Linear(3, 3)};
    Tensor forward(const Tensor& x) override { return body(x); }
  } holder;
  const Tensor x(NDArray::ones({2, 3}));
  holder(x);
  Sequential other(Linear(3, 3), Linear(3, 3));
  *holder.body = std::move(other);
  EXPECT_NO_THROW(holder(x));
  EXPECT_EQ(holder.parameters().size(), 4u);
}

// What names a registered tensor or child cannot be made to name another: optimizer and file would keep the old one.
TEST(Module, MembersStayWithWhatIsRegistered) {
  static_assert(!std::is_assignable_v<decltype((std::declval<Linear&>().weight)), Tensor>);
  static_assert(!std::is_assignable_v<decltype((std::declval<Embedding&>().weight)), Tensor>);
  static_assert(!std::is_assignable_v<decltype((std::declval<LayerNorm&>().bias)), Tensor>);
  static_assert(!std::is_assignable_v<Submodule<Linear>&, Submodule<Linear>>);
  static_assert(!std::is_assignable_v<Linear&, Linear>);
  Linear layer(2, 2);
  layer.weight.set_data(NDArray::full({2, 2}, 7));
  EXPECT_EQ(layer.parameters()[0].id(), layer.weight.id());
  EXPECT_EQ(layer.state()[0].second.data().to_vector<float>()[0], 7);

  struct Tied : Module {
    Submodule<Linear> in{this, "in", 3, 3}, out{this, "out", in->weight, Tensor()};
    Tensor forward(const Tensor& x) override { return out(in(x)); }
  } tied;
  EXPECT_EQ(tied.parameters().size(), 2u);
}

// Of a user's own type, with members.
struct SensorError : ValueError {
  SensorError(const std::string& what, int number) : ValueError(what), code(number) {}
  int code;
};

TEST(Module, ExceptionsOfOtherTypesPassUnchanged) {
  struct Sensor : Module {
    explicit Sensor(bool at_once = false) {
      if (at_once) throw SensorError("broken", 3);
    }
    Tensor forward(const Tensor& x) override {
      if (x.ndim() == 1) throw SensorError("too hot", 42);
      throw std::out_of_range("far away");
    }
  };
  struct Outer : Module {
    Submodule<Sensor> sensor{this, "sensor"};
    Tensor forward(const Tensor& x) override { return sensor(x); }
  };
  Sequential net;
  net.emplace<Outer>();
  try {
    net(Tensor(NDArray::ones({2})));
    FAIL();
  } catch (const SensorError& e) {
    EXPECT_EQ(e.code, 42);
    EXPECT_STREQ(e.what(), "too hot");
  }
  EXPECT_THROW(net(Tensor(NDArray::ones({2, 2}))), std::out_of_range);
  Module parent;
  EXPECT_THROW((Submodule<Sensor>(&parent, "sensor", true)), SensorError);
}

TEST(Layers, LinearIsTheFormula) {
  const Linear layer(Tensor(NDArray::from_vector<float>({1, 2, 3, 4, 5, 6}, {2, 3})),
                     Tensor(NDArray::from_vector<float>({10, 20})));
  Linear copy(layer.weight, layer.bias);
  EXPECT_EQ(copy(Tensor(NDArray::from_vector<float>({1, 0, -1}, {1, 3}))).data().to_vector<float>(),
            (std::vector<float>{8, 18}));
  EXPECT_THROW(Linear(0, 3), ValueError);
  EXPECT_THROW(Linear(3, -1), ValueError);
}

TEST(Layers, LayerNormNormalizesTheLastDimensions) {
  LayerNorm layer({2, 2}, {.eps = 0});
  const Tensor y = layer(Tensor(NDArray::from_vector<float>({1, 3, 1, 3, 0, 0, 0, 8}, {2, 2, 2})));
  const auto v = y.data().to_vector<float>();
  EXPECT_FLOAT_EQ(v[0], -1);
  EXPECT_FLOAT_EQ(v[1], 1);
  EXPECT_NEAR(v[4], -2 / std::sqrt(12.0), 1e-6);
  EXPECT_NEAR(v[7], 6 / std::sqrt(12.0), 1e-6);
  EXPECT_THROW(layer(Tensor(NDArray::zeros({2, 3}))), ShapeError);
}

TEST(Layers, DropoutActsInTrainingOnly) {
  manual_seed(3);
  Dropout layer(0.5);
  const Tensor x(NDArray::ones({1000}));
  int64_t zeros = 0;
  for (float v : layer(x).data().to_vector<float>()) {
    zeros += v == 0;
    EXPECT_TRUE(v == 0 || v == 2);
  }
  EXPECT_GT(zeros, 400);
  EXPECT_LT(zeros, 600);
  layer.eval();
  EXPECT_EQ(layer(x).data().to_vector<float>(), x.data().to_vector<float>());
  EXPECT_THROW(Dropout(1.5), ValueError);
}

TEST(Layers, EmbeddingPicksRows) {
  Embedding layer(Tensor(NDArray::from_vector<float>({1, 2, 3, 4, 5, 6}, {3, 2})));
  EXPECT_EQ(layer(Tensor(NDArray::from_vector<int64_t>({2, 0}))).data().to_vector<float>(),
            (std::vector<float>{5, 6, 1, 2}));
  EXPECT_THROW(layer(Tensor(NDArray::from_vector<int64_t>({3}))), ValueError);
}

TEST(Layers, CopiesAreIndependentAndKeepTheMode) {
  for (const std::shared_ptr<Module>& layer : std::initializer_list<std::shared_ptr<Module>>{
           std::make_shared<Linear>(3, 2), std::make_shared<Linear>(3, 2, Linear::Options{.bias = false}),
           std::make_shared<LayerNorm>(Shape{3}),
           std::make_shared<LayerNorm>(Shape{3}, LayerNorm::Options{1e-3, false}), std::make_shared<Dropout>(0.25)}) {
    layer->eval();
    const auto copy = copy_layer(*layer);
    EXPECT_EQ(copy->type(), layer->type());
    EXPECT_EQ(copy->attributes(), layer->attributes());
    EXPECT_FALSE(copy->training());
    const Tensor x(NDArray::from_vector<float>({0.5, -1, 2}, {1, 3}));
    EXPECT_EQ((*copy)(x).data().to_vector<float>(), (*layer)(x).data().to_vector<float>());
    for (auto& [name, tensor] : copy->state()) tensor.mutable_data().fill(0);
    for (const auto& [name, tensor] : layer->state())
      EXPECT_FALSE(name == "weight" && tensor.data().to_vector<float>()[0] == 0) << layer->type();
  }
  EXPECT_THROW(make_layer("Transmogrifier", {}), FormatError);
}

TEST(Layers, CopiesOfFrozenLayersAreFrozen) {
  Linear layer(2, 3);
  layer.weight.set_requires_grad(false);
  const auto copy = copy_layer(layer);
  EXPECT_FALSE(copy->parameters()[0].requires_grad());
  EXPECT_TRUE(copy->parameters()[1].requires_grad());
}

TEST(Layers, RefuseTensorsThatDoNotFitTogether) {
  EXPECT_THROW(Linear(NDArray::ones({3}), Tensor()), ShapeError);
  EXPECT_THROW(Linear(NDArray::ones({3, 2}), NDArray::ones({2})), ShapeError);
  EXPECT_THROW(LayerNorm({3}, 1e-5, NDArray::ones({2}), NDArray::ones({3})), ShapeError);
}

TEST(Module, LoadStateChangesNothingIfSomethingDoesNotFit) {
  Linear layer(2, 3);
  const auto before = layer.weight.data().to_vector<float>();
  EXPECT_THROW(layer.load_state({{"weight", NDArray::zeros({3, 2})}, {"bias", NDArray::zeros({4})}}), ShapeError);
  EXPECT_THROW(layer.load_state({{"weight", NDArray::zeros({3, 2})}, {"weight", NDArray::zeros({3, 2})}}), ValueError);
  EXPECT_THROW(
      layer.load_state({{"weight", NDArray::zeros({2, 2})}, {"other", NDArray::zeros({4})}}, {.strict = false}),
      ShapeError);
  EXPECT_THROW(layer.load_state({{"weight", NDArray::zeros({3, 2}, DType::int32)}}, {.strict = false}), DTypeError);
  EXPECT_EQ(layer.weight.data().to_vector<float>(), before);
}

TEST(Module, LoadStateTakesStatesAndMaps) {
  NestedNet a, b;
  const LoadStateReport report = b.load_state(a.state());
  EXPECT_TRUE(report.missing.empty() && report.unexpected.empty());
  const Tensor x(NDArray::ones({2, 3}));
  const auto expected = a(x).data().to_vector<float>();
  EXPECT_EQ(b(x).data().to_vector<float>(), expected);
  // A copy: training one leaves the other.
  for (Tensor& parameter : b.parameters()) {
    NDArray data = parameter.data();
    data.fill(0);
  }
  EXPECT_EQ(a(x).data().to_vector<float>(), expected);

  std::map<std::string, Tensor> tensors;
  std::map<std::string, NDArray> arrays;
  for (const auto& [name, tensor] : a.state()) {
    tensors.emplace(name, tensor);
    arrays.emplace(name, tensor.data());
  }
  b.load_state(std::as_const(tensors));
  EXPECT_EQ(b(x).data().to_vector<float>(), expected);
  NestedNet c;
  c.load_state(std::as_const(arrays));
  EXPECT_EQ(c(x).data().to_vector<float>(), expected);
  c.load_state(c.state());
  EXPECT_EQ(c(x).data().to_vector<float>(), expected);
}

TEST(Module, LoadStateOfAPartSaysWhatIsMissingAndUnexpected) {
  Linear layer(2, 3);
  const auto bias = layer.bias.data().to_vector<float>();
  const NamedArrays arrays{{"weight", NDArray::ones({3, 2})}, {"head.weight", NDArray::ones({9})}};
  try {
    layer.load_state(arrays);
    FAIL() << "loaded without its bias";
  } catch (const ValueError& e) {
    EXPECT_STREQ(e.what(), "load_state: no array is given for 'bias'; there is no tensor 'head.weight'");
  }
  EXPECT_NE(layer.weight.data().to_vector<float>(), std::vector<float>(6, 1));
  const LoadStateReport report = layer.load_state(arrays, {.strict = false});
  EXPECT_THAT(report.missing, ElementsAre("bias"));
  EXPECT_THAT(report.unexpected, ElementsAre("head.weight"));
  EXPECT_EQ(layer.weight.data().to_vector<float>(), std::vector<float>(6, 1));
  EXPECT_EQ(layer.bias.data().to_vector<float>(), bias);
}

TEST(Module, LoadStateWidensSixteenBitFloats) {
  for (const DType dtype : {DType::float16, DType::bfloat16}) {
    Linear layer(2, 1);
    layer.load_state({{"weight", NDArray::from_vector<float>({1.5f, -3}, {1, 2}).to(dtype)},
                      {"bias", NDArray::from_vector<float>({0.25f})}});
    EXPECT_EQ(layer.weight.dtype(), DType::float32);
    EXPECT_EQ(layer.weight.data().to_vector<float>(), (std::vector<float>{1.5f, -3})) << dtype;
  }
}

}  // namespace
}  // namespace thimble::nn
