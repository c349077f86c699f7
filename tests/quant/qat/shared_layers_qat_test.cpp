// Layers that are called more than once, in quantization-aware training: one set of parameters, whatever the calls
// read.
#include "tests/quant/conversion.h"
#include "tests/serialization/files.h"
#include <thimble/core/ops.h>
#include <thimble/nn/layers/conv.h>
#include <thimble/nn/layers/conv_bn_relu.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/nn/training/optim/optimizer.h>
#include <thimble/quant/qat/qat.h>
#include <thimble/quant/qat/qat_layers.h>
#include <thimble/serialization/checkpoint.h>
#include <thimble/serialization/training_state.h>

namespace thimble::quant {
namespace {

// |tower(x) - tower(y)| of the two halves of an image's rows.
struct QATSiamese : nn::Module {
  nn::Submodule<nn::ConvBNReLU> block{this, "block", 1, 6, 3, nn::Conv2d::Options{.padding = 1}};
  nn::Submodule<nn::Linear> fc{this, "fc", 6 * 4 * 8, 8};
  nn::Submodule<nn::Linear> head{this, "head", 8, 2};

  Tensor tower(const Tensor& x) { return relu(fc(flatten(block(x), 1))); }
  Tensor forward(const Tensor& x) override {
    return head(abs(tower(slice(x, 2, 0, 4)) - tower(0.2 * slice(x, 2, 4, 8))));
  }
};

// The same layer twice, and two layers of the same values.
struct CalledTwice : nn::Module {
  nn::Submodule<nn::Linear> fc{this, "fc", 8, 8}, out{this, "out", 8, 3};
  Tensor forward(const Tensor& x) override { return out(relu(fc(0.3 * relu(fc(x))))); }
};
struct TwoLayers : nn::Module {
  nn::Submodule<nn::Linear> fc{this, "fc", 8, 8}, fc_1{this, "fc_1", 8, 8}, out{this, "out", 8, 3};
  Tensor forward(const Tensor& x) override { return out(relu(fc_1(0.3 * relu(fc(x))))); }
};

class SharedLayersQAT : public QuantizeTest {
 protected:
  // Whether the halves are of one sign.
  std::pair<Tensor, Tensor> batch(int64_t n) {
    NDArray images = random_normal({n, 1, 8, 8}, rng, 0.3f);
    std::vector<int64_t> labels;
    for (int64_t i = 0; i < n; ++i) {
      const float a = rng() % 2 ? 0.5f : -0.5f, b = rng() % 2 ? 2.5f : -2.5f;
      for (int64_t p = 0; p < 64; ++p) images.data<float>()[i * 64 + p] += p < 32 ? a : b;
      labels.push_back(a * b > 0);
    }
    return {images, NDArray::from_vector(labels)};
  }

  double step(Graph& graph, optim::Optimizer& optimizer) {
    const auto [images, labels] = batch(32);
    const Tensor loss = cross_entropy(graph(images), labels);
    optimizer.zero_grad();
    loss.backward();
    optimizer.step();
    return loss.item<double>();
  }

  Graph siamese() {
    manual_seed(3);
    return nn::trace(model.eval(), batch(2).first);
  }

  const bool is_seeded = (manual_seed(3), true);  // before the model draws its weights, whatever tests ran before
  QATSiamese model;
};

TEST_F(SharedLayersQAT, AreOneLayerWithOneSetOfParameters) {
  const Graph graph = siamese();
  const Graph qat = prepare_qat(graph, QConfigMapping::static_int8());
  EXPECT_EQ(qat.parameters().size(), model.parameters().size());
  EXPECT_EQ(qat.num_parameters(), model.num_parameters());
  const Node *conv = qat.find("block.conv"), *again = qat.find("block.conv_1");
  ASSERT_TRUE(conv && again);
  EXPECT_EQ(conv->target, again->target);
  EXPECT_EQ(qat.layer(conv).type(), "QATConv2d");
  EXPECT_EQ(qat.layer(qat.find("fc_1")).type(), "QATLinear");
  // What each call reads is observed by itself.
  EXPECT_NE(conv->inputs[0], again->inputs[0]);
  EXPECT_TRUE(qat.layer_as<FakeQuantize>(conv->inputs[0]));
  EXPECT_TRUE(qat.layer_as<FakeQuantize>(again->inputs[0]));
}

TEST_F(SharedLayersQAT, GradientsOfAllCallsAddUp) {
  CalledTwice shared;
  const Graph graph = traced(shared);
  TwoLayers apart;
  const Graph twin = traced(apart);
  for (const bool learned : {false, true}) {
    Graph one = prepare_qat(graph, QConfigMapping::static_int8(), {.learned_step_size = learned});
    Graph two = prepare_qat(twin, QConfigMapping::static_int8(), {.learned_step_size = learned});
    std::map<std::string, Tensor> ones, twos;
    for (auto& [name, tensor] : one.named_parameters()) ones.emplace(name, tensor);
    for (auto& [name, tensor] : two.named_parameters()) twos.emplace(name, tensor);
    for (auto& [name, tensor] : twos)
      tensor.set_data(ones.at(name.starts_with("fc_1.") ? "fc." + name.substr(5) : name).data().clone());
    const Tensor y = one(Tensor(data)), z = two(Tensor(data));
    EXPECT_EQ(y.data().to_vector<float>(), z.data().to_vector<float>());
    sum(y * y).backward();
    sum(z * z).backward();
    const auto gradient = [](const std::map<std::string, Tensor>& of, const std::string& name) {
      return of.at(name).grad().data().to_vector<double>();
    };
    for (const std::string name : {"weight", "bias"}) {
      const auto all = gradient(ones, "fc." + name), first = gradient(twos, "fc." + name),
                 second = gradient(twos, "fc_1." + name);
      for (size_t i = 0; i < all.size(); ++i)
        EXPECT_NEAR(all[i], first[i] + second[i], 1e-4 * (1 + std::abs(all[i]))) << name << ' ' << i;
    }
  }
}

TEST_F(SharedLayersQAT, TrainSaveResumeAndConvert) {
  Graph qat = prepare_qat(siamese(), QConfigMapping::static_int8());
  optim::Adam adam(qat.parameters(), {.lr = 1e-2});
  const double before = step(qat, adam);
  double loss = 0;
  for (int i = 0; i < 40; ++i) loss = step(qat, adam);
  EXPECT_LT(loss, before / 2);

  // As if it had not been interrupted.
  const TempFolder folder;
  save_training_state(folder / "state", capture(qat, adam, default_generator(), {}));
  const auto rng_then = rng;
  for (int i = 0; i < 3; ++i) step(qat, adam);
  const auto expected = arrays_of(qat);
  Graph resumed = prepare_qat(siamese(), QConfigMapping::static_int8());
  optim::Adam other(resumed.parameters(), {.lr = 1e-2});
  Generator generator = default_generator();
  restore(load_training_state(folder / "state"), resumed, other, generator);
  rng = rng_then;
  for (int i = 0; i < 3; ++i) step(resumed, other);
  for (const auto& [name, array] : arrays_of(resumed))
    EXPECT_EQ(array.to_vector<float>(), expected.at(name).to_vector<float>()) << name;

  freeze_bn_stats(qat);
  disable_observer(qat);
  for (int i = 0; i < 10; ++i) loss = step(qat, adam);
  data = batch(64).first.data();
  qat.eval();
  save_model(qat, folder / "qat");
  for (const Graph& trained : {qat.clone(), load_model(folder / "qat")}) {
    EXPECT_EQ(trained.layer(trained.find("fc")).parameters().size(), 2u);
    EXPECT_EQ(trained.find("fc")->target, trained.find("fc_1")->target);
    Converted result;
    result.graph = convert(trained, &result.report);
    EXPECT_EQ(result.count("QuantizedConv2d"), 2) << result.graph.table();
    EXPECT_EQ(result.count("QuantizedLinear"), 3);
    EXPECT_EQ(result.count("sub"), 1) << "it was trained as floats";
    for (const char* name : {"block.conv", "fc"}) {
      const auto weights = [&](const std::string& of) {
        return result.graph.layer_as<IntegerProduct>(result.graph.find(of))->weights().values().data().address();
      };
      EXPECT_EQ(weights(name), weights(str(name, "_1")));
    }
    EXPECT_GT(sqnr(trained, result), 25);
    expect_integers(result.graph);
    expect_deterministic(result.graph);
  }
}

// Biases are rounded for one input scale; where calls read several, none is.
TEST_F(SharedLayersQAT, ABiasIsRoundedOnlyForInputsOfOneScale) {
  CalledTwice shared;
  Graph qat = prepare_qat(traced(shared), QConfigMapping::static_int8());
  qat(Tensor(data));
  disable_observer(qat);
  EXPECT_EQ(arrays_of(qat).at("fc.input_scale").item<float>(), 0);
  EXPECT_GT(arrays_of(qat).at("out.input_scale").item<float>(), 0);
}

TEST_F(SharedLayersQAT, CallsMustAgree) {
  CalledTwice shared;
  const Graph graph = traced(shared);
  QConfig four;
  four.weight.bits = 4;
  for (const std::optional<QConfig>& config : {std::optional(four), std::optional<QConfig>()}) {
    const auto mapping = QConfigMapping::static_int8().set_name("fc_1", config);
    try {
      prepare_qat(graph, mapping);
      ADD_FAILURE();
    } catch (const ValueError& e) {
      EXPECT_STREQ(e.what(), "prepare_qat: 'fc' and 'fc_1' call the same layer, and their configurations differ");
    }
  }
  // What activations become is each call's own.
  QConfig six;
  six.activation.bits = 6;
  EXPECT_NO_THROW(prepare_qat(graph, QConfigMapping::static_int8().set_name("fc_1", six)));
}

}  // namespace
}  // namespace thimble::quant
