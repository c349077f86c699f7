#include <set>

#include <gmock/gmock.h>

#include "tests/quant/conversion.h"
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/loss.h>
#include <thimble/core/ops/pool.h>
#include <thimble/core/ops/reduce.h>
#include <thimble/core/ops/shape.h>
#include <thimble/nn/graph/passes.h>
#include <thimble/nn/layers/conv.h>
#include <thimble/nn/layers/conv_bn_relu.h>
#include <thimble/nn/layers/dropout.h>
#include <thimble/nn/training/optim/optimizer.h>
#include <thimble/quant/passes/dynamic.h>
#include <thimble/quant/passes/equalization.h>
#include <thimble/quant/passes/fuse.h>
#include <thimble/quant/passes/weight_only.h>
#include <thimble/quant/qat/qat.h>
#include <thimble/quant/qat/qat_layers.h>

namespace thimble::quant {
namespace {

// Every way in which layers are trained: with normalization and without, with relu and without, an addition.
struct QATNet : nn::Module {
  nn::Submodule<nn::ConvBNReLU> block{this, "block", 1, 6, 3, nn::Conv2d::Options{.padding = 1}};
  nn::Submodule<nn::Conv2d> conv{this, "conv", 6, 6, 3, {.padding = 1, .bias = false}};
  nn::Submodule<nn::BatchNorm2d> bn{this, "bn", 6};
  nn::Submodule<nn::Linear> fc1{this, "fc1", 6 * 4 * 4, 16};
  nn::Submodule<nn::BatchNorm1d> bn1{this, "bn1", 16};
  nn::Submodule<nn::Linear> fc2{this, "fc2", 16, 4};

  Tensor forward(const Tensor& x) override {
    const Tensor h = block(x);
    const Tensor sum = relu(h + bn(conv(h)));
    return fc2(relu(bn1(fc1(flatten(max_pool2d(sum, 2), 1)))));
  }
};

// Images of four classes: a bright quarter, and noise.
class QATTest : public testing::Test {
 protected:
  std::pair<Tensor, Tensor> batch(int64_t n) {
    NDArray images = random_normal({n, 1, 8, 8}, rng, 0.3f);
    std::vector<int64_t> labels;
    for (int64_t i = 0; i < n; ++i) {
      const auto label = static_cast<int64_t>(rng() % 4);
      labels.push_back(label);
      NDArray quarter = images.slice(0, i, i + 1).slice(2, label / 2 * 4, label / 2 * 4 + 4);
      quarter = quarter.slice(3, label % 2 * 4, label % 2 * 4 + 4);
      quarter.copy_from((Tensor(quarter) + Tensor::scalar(0.35)).data());
    }
    return {images, NDArray::from_vector(labels)};
  }

  double train(nn::Module& model, int steps, double lr = 1e-2) {
    optim::Adam adam(model.parameters(), {.lr = lr});
    model.train();
    double loss = 0;
    for (int i = 0; i < steps; ++i) {
      const auto [images, labels] = batch(32);
      const Tensor l = cross_entropy(model(images), labels);
      adam.zero_grad();
      l.backward();
      adam.step();
      loss = l.item<double>();
    }
    return loss;
  }

  Graph trained() {
    manual_seed(7);
    QATNet net;
    train(net, 60);
    return nn::trace(net.eval(), batch(2).first);
  }

  static QConfigMapping bits(int weight, int activation) {
    return QConfigMapping().set_global(QConfig{.activation = QuantizationSpec::activation(activation),
                                               .weight = QuantizationSpec::per_channel_weight(weight)});
  }

  // Of how many images the two say more different things than the last sum's rounding explains.
  static int images_that_differ(Graph& a, Graph& b, const NDArray& images) {
    const auto expected = a(images).data().to_vector<float>(), got = b(images).data().to_vector<float>();
    std::set<size_t> found;
    for (size_t i = 0; i < got.size(); ++i)
      if (std::abs(got[i] - expected[i]) > 1e-4f * (1 + std::abs(expected[i]))) found.insert(i / 4);
    return static_cast<int>(found.size());
  }

  std::mt19937 rng{11};
};

TEST_F(QATTest, LayersTakeNormalizationAndReluIn) {
  const Graph graph = trained();
  const std::string before = graph.table();
  const Graph prepared = prepare_qat(graph, bits(8, 8));
  EXPECT_EQ(graph.table(), before);
  EXPECT_TRUE(prepared.training());
  int conv = 0, linear = 0, fake = 0;
  for (const Node* node : prepared.nodes()) {
    conv += prepared.is_layer(node, "QATConv2d");
    linear += prepared.is_layer(node, "QATLinear");
    fake += prepared.is_layer(node, "FakeQuantize");
    EXPECT_FALSE(prepared.is_layer(node, "BatchNorm2d") || prepared.is_layer(node, "BatchNorm1d"));
    EXPECT_FALSE(prepared.is_op(node, "relu"));
  }
  EXPECT_EQ(conv, 2);
  EXPECT_EQ(linear, 2);
  EXPECT_EQ(fake, 5);  // the image, both operands of the addition, its result, what fc2 reads
}

TEST_F(QATTest, WithoutRoundingItIsTheFloatNetwork) {
  Graph graph = trained();
  Graph prepared = prepare_qat(graph, bits(4, 4));
  const Tensor x = batch(64).first;
  disable_fake_quant(prepared);
  for (const bool training : {true, false}) {
    graph.train(training);
    prepared.train(training);
    const auto expected = graph(x).data().to_vector<float>(), got = prepared(x).data().to_vector<float>();
    for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-3f * (1 + std::abs(expected[i])));
  }
}

// Constants that inference takes into biases stay ops here, which learn by themselves.
TEST_F(QATTest, WhatIsAddedToLayersStays) {
  struct Net : nn::Module {
    nn::Submodule<nn::Conv2d> conv{this, "conv", 1, 3, 3};
    nn::Submodule<nn::BatchNorm2d> bn{this, "bn", 3};
    nn::Submodule<nn::Linear> fc{this, "fc", 3, 4};
    Tensor shift = register_parameter("shift", NDArray::from_vector<float>({1, -2, 3}, {1, 3, 1, 1}));
    Tensor offset = register_buffer("offset", NDArray::from_vector<float>({4, -3, 2, 1}));
    Tensor forward(const Tensor& x) override {
      return fc(flatten(global_avg_pool2d(relu(bn(conv(x) + shift))), 1)) + offset;
    }
  } net;
  const Tensor x = batch(16).first;
  Graph graph = nn::trace(net.eval(), x);
  Graph prepared = prepare_qat(graph, bits(8, 8));
  disable_fake_quant(prepared);
  prepared.eval();
  const auto expected = graph(x).data().to_vector<float>(), got = prepared(x).data().to_vector<float>();
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-3f * (1 + std::abs(expected[i])));
}

TEST_F(QATTest, ConvertedGraphAgreesWithTheFakeQuantizedOne) {
  const Graph graph = trained();
  for (const bool learned : {false, true})
    for (const int width : {8, 4, 2}) {
      SCOPED_TRACE(str(width, " bits", learned ? ", learned" : ""));
      Graph prepared = prepare_qat(graph, bits(width, width), {.learned_step_size = learned});
      train(prepared, 40, 2e-3);
      freeze_bn_stats(prepared);
      disable_observer(prepared);
      train(prepared, 10, 1e-3);
      prepared.eval();
      ConversionReport report;
      Graph converted = convert(prepared, &report);
      ASSERT_EQ(report.size(), 5u);
      for (const LayerReport& entry : report) {
        EXPECT_FALSE(entry.kept_float) << entry.name;
        EXPECT_EQ(entry.activation_bits, width) << entry.name;
      }
      const NDArray images = batch(2000).first.data();
      // Sums in float32 may round an activation between two integers to the other one.
      EXPECT_LE(images_that_differ(prepared, converted, images), 4);
    }
}

TEST_F(QATTest, ConvertedGraphIsInEvaluationMode) {
  struct WithDropout : nn::Module {
    nn::Submodule<QATNet> net{this, "net"};
    nn::Submodule<nn::Dropout> dropout{this, "dropout", 0.5};
    nn::Submodule<nn::Linear> fc{this, "fc", 4, 4};
    nn::Submodule<nn::BatchNorm1d> bn{this, "bn", 4};
    Tensor forward(const Tensor& x) override {
      const Tensor h = fc(dropout(relu(net(x))));
      return bn(h + net(x));
    }
  } net;
  train(net, 5);
  Graph prepared = prepare_qat(nn::trace(net.eval(), batch(2).first), bits(8, 8));
  train(prepared, 5);
  ASSERT_TRUE(prepared.training());
  Graph converted = convert(prepared);
  EXPECT_FALSE(converted.training());
  const NDArray images = batch(8).first.data();
  const NDArray all = converted(images).data(), first = converted(images.slice(0, 0, 3)).data();
  // Statistics of the batch or dropout would make another value of it; the last bits of floats may depend on it anyway.
  EXPECT_THAT(first.to_vector<float>(),
              testing::Pointwise(testing::FloatNear(1e-5f), all.slice(0, 0, 3).to_vector<float>()));
}

TEST_F(QATTest, TrainingRecoversWhatFewBitsLose) {
  const Graph graph = trained();
  const std::pair<Tensor, Tensor> test = batch(1000);
  const auto right = [&](Graph& g) {
    const NDArray predicted = argmax(g(test.first).data(), 1), labels = test.second.data();
    int64_t correct = 0;
    for (int64_t i = 0; i < 1000; ++i) correct += predicted.data<int64_t>()[i] == labels.data<int64_t>()[i];
    return correct;
  };
  Graph post_training = quantize_model(
      graph, [&](Graph& g) { g(batch(256).first); }, bits(2, 2));
  Graph prepared = prepare_qat(graph, bits(2, 2), {.learned_step_size = true});
  train(prepared, 80, 5e-3);
  prepared.eval();
  Graph aware = convert(prepared);
  EXPECT_GT(right(aware), right(post_training) + 50);
}

TEST_F(QATTest, FrozenStatisticsAndRangesStay) {
  Graph prepared = prepare_qat(trained(), bits(8, 8));
  train(prepared, 2);
  const auto buffers = [&] {
    std::map<std::string, std::vector<double>> found;
    for (const auto& [name, tensor] : prepared.named_buffers()) found[name] = tensor.data().to_vector<double>();
    return found;
  };
  auto before = buffers();
  train(prepared, 2);
  EXPECT_NE(buffers(), before);
  freeze_bn_stats(prepared);
  disable_observer(prepared);
  before = buffers();
  train(prepared, 2);
  EXPECT_EQ(buffers(), before);
  Graph copy = prepared.clone();  // and in a copy, too
  train(copy, 2);
  for (const auto& [name, tensor] : copy.named_buffers())
    EXPECT_EQ(tensor.data().to_vector<double>(), before.at(name)) << name;
}

// With their biases and what normalizes behind them.
TEST_F(QATTest, FrozenParametersStayFrozenAndTheOthersAreTrained) {
  for (const bool learned : {false, true}) {
    Graph graph = trained();
    const std::set<std::string> frozen{"conv.weight", "bn.weight", "bn.bias", "fc1.bias", "fc2.weight"};
    for (auto& [name, parameter] : graph.named_parameters())
      if (frozen.contains(name)) Tensor(parameter).set_requires_grad(false);
    Graph prepared = prepare_qat(graph, bits(4, 4), {.learned_step_size = learned});
    std::map<std::string, std::vector<double>> before;
    int still = 0;
    for (const auto& [name, parameter] : prepared.named_parameters()) {
      const bool is_frozen = frozen.contains(name) || name == "conv.bn.weight" || name == "conv.bn.bias";
      EXPECT_EQ(parameter.requires_grad(), !is_frozen) << name;
      still += is_frozen;
      before[name] = parameter.data().to_vector<double>();
    }
    EXPECT_EQ(still, 5);
    for (const auto& [name, parameter] : graph.named_parameters())
      EXPECT_EQ(parameter.requires_grad(), !frozen.contains(name)) << name;  // as they were
    train(prepared, 5);
    const Graph copy = prepared.clone();
    for (const auto& [name, parameter] : copy.named_parameters()) {
      const bool has_moved = parameter.data().to_vector<double>() != before.at(name);
      if (!parameter.requires_grad()) {
        EXPECT_FALSE(has_moved) << name;
      } else if (name == "fc1.weight" || name == "fc2.bias") {
        EXPECT_TRUE(has_moved) << name;
      }
    }
  }
}

TEST_F(QATTest, EveryPassKeepsWhatIsFrozen) {
  Graph graph = trained();
  graph.layer_as<nn::Linear>(graph.find("fc2"))->weight.set_requires_grad(false);
  const QConfigMapping mapping = bits(8, 8).set_name("fc2", std::nullopt);
  const auto expect_kept = [](const Graph& result, const char* pass) {
    const auto* fc2 = result.layer_as<nn::Linear>(result.find("fc2"));
    ASSERT_NE(fc2, nullptr) << pass;
    EXPECT_FALSE(fc2->weight.requires_grad()) << pass;
    EXPECT_TRUE(fc2->bias.requires_grad()) << pass;
  };
  const Graph fused = fuse_conv_bn_relu(graph);
  expect_kept(fused, "fuse_conv_bn_relu");
  expect_kept(nn::eliminate_dead_nodes(graph), "eliminate_dead_nodes");
  expect_kept(nn::fold_constants(graph), "fold_constants");
  expect_kept(cross_layer_equalization(fused), "cross_layer_equalization");
  expect_kept(quantize_dynamic(graph, mapping), "quantize_dynamic");
  expect_kept(quantize_weight_only(graph, mapping), "quantize_weight_only");
  Graph prepared = prepare(fused, mapping);
  expect_kept(prepared, "prepare");
  prepared(batch(16).first);
  expect_kept(convert(prepared), "convert");
  Graph trained_with_rounding = prepare_qat(graph, mapping);
  expect_kept(trained_with_rounding, "prepare_qat");
  train(trained_with_rounding, 2);
  expect_kept(convert(trained_with_rounding), "convert, of prepare_qat");
}

TEST_F(QATTest, NormalizationBehindALayerThatStaysFloatNormalizesAndLearns) {
  struct Sequence : nn::Module {
    nn::Submodule<nn::Conv1d> conv{this, "conv", 4, 6, 3};
    nn::Submodule<nn::BatchNorm1d> bn{this, "bn", 6};
    nn::Submodule<nn::Linear> fc{this, "fc", 6 * 14, 4};
    Tensor forward(const Tensor& x) override { return fc(flatten(relu(bn(conv(reshape(x, {-1, 4, 16})))), 1)); }
  };
  manual_seed(3);
  Sequence sequence;
  train(sequence, 10);
  const Graph of_images = trained(), of_sequences = nn::trace(sequence.eval(), batch(2).first);
  const std::tuple<const Graph*, std::string, QConfigMapping> cases[] = {
      {&of_images, "bn", bits(8, 8).set_name("conv", std::nullopt)},
      {&of_images, "bn1", bits(8, 8).set_name("fc1", std::nullopt)},
      {&of_sequences, "bn", bits(8, 8)}};
  for (const auto& [graph, name, mapping] : cases) {
    Graph prepared = prepare_qat(*graph, mapping);
    auto* bn = prepared.layer_as<nn::BatchNorm>(prepared.find(name));
    ASSERT_NE(bn, nullptr) << name;
    EXPECT_TRUE(bn->training());
    const auto mean = bn->running_mean.data().to_vector<float>(), gain = bn->weight.data().to_vector<float>();
    train(prepared, 3);
    EXPECT_NE(bn->running_mean.data().to_vector<float>(), mean) << name;
    EXPECT_NE(bn->weight.data().to_vector<float>(), gain) << name;
    freeze_bn_stats(prepared);
    disable_observer(prepared);
    prepared.eval();
    Graph converted = convert(prepared);
    const NDArray images = batch(500).first.data();
    EXPECT_LE(images_that_differ(prepared, converted, images), 4) << name;
  }
  // The others' goes into the layers all the same.
  const Graph prepared = prepare_qat(of_images, bits(8, 8).set_name("conv", std::nullopt));
  EXPECT_EQ(prepared.find("bn1"), nullptr);
}

TEST_F(QATTest, LearnedScalesAreNotSpoiltByAFirstBatchOfZeros) {
  const Graph graph = trained();
  Graph prepared = prepare_qat(graph, bits(4, 4), {.learned_step_size = true});
  cross_entropy(prepared(Tensor(NDArray::zeros({4, 1, 8, 8}))), NDArray::zeros({4}, DType::int64)).backward();
  for (Tensor& parameter : prepared.parameters()) parameter.set_grad(Tensor());
  Graph at_once = prepare_qat(graph, bits(4, 4), {.learned_step_size = true});
  const Tensor x = batch(32).first;
  prepared(x);
  at_once(x);
  const auto scale_of_image = [](const Graph& g) {
    const auto* fake = g.layer_as<FakeQuantize>(g.users(g.inputs().at(0)).at(0));
    return std::pair(fake->qparams().scale, fake->qparams().zero_point);
  };
  EXPECT_EQ(scale_of_image(prepared), scale_of_image(at_once));
}

TEST_F(QATTest, GradientsReachEveryParameter) {
  for (const bool learned : {false, true}) {
    Graph prepared = prepare_qat(trained(), bits(4, 4), {.learned_step_size = learned});
    const auto [images, labels] = batch(32);
    cross_entropy(prepared(images), labels).backward();
    size_t scales = 0;
    for (const auto& [name, parameter] : prepared.named_parameters()) {
      ASSERT_TRUE(parameter.grad().defined()) << name;
      double sum = 0;
      for (const double g : parameter.grad().data().to_vector<double>()) sum += std::abs(g);
      // A bias before normalization in training has none.
      const bool has_none = name.ends_with("conv.bias") || name == "fc1.bias";
      EXPECT_TRUE(has_none || sum > 0) << name;
      scales += name.ends_with("scale");
    }
    EXPECT_EQ(scales, learned ? 9u : 0u);
  }
}

TEST_F(QATTest, MappingKeepsLayersFloatAndSetsWidths) {
  QConfigMapping mapping = bits(4, 8);
  mapping.set_name("fc2", std::nullopt).set_name("conv", QConfig{.weight = QuantizationSpec::per_channel_weight(6)});
  Graph prepared = prepare_qat(trained(), mapping);
  train(prepared, 2);
  ConversionReport report;
  convert(prepared, &report);
  std::map<std::string, int> weight_bits;
  for (const LayerReport& entry : report) weight_bits[entry.name] = entry.weight_bits;
  EXPECT_EQ(weight_bits.at("fc2"), 32);
  EXPECT_EQ(weight_bits.at("conv"), 6);
  EXPECT_EQ(weight_bits.at("fc1"), 4);
  EXPECT_THROW(prepare_qat(trained(), bits(4, 8).set_name("fc9", std::nullopt)), ValueError);
  EXPECT_THROW(prepare_qat(trained(), bits(1, 8)), ValueError);
}

TEST_F(QATTest, WeightsMayShareAScaleOrHaveOneForEachGroup) {
  for (const int64_t group_size : {0, 4, 7}) {
    QuantizationSpec weight = QuantizationSpec::per_channel_weight(4);
    if (group_size == 0) weight.axis = std::nullopt;
    weight.group_size = group_size;
    const auto mapping = QConfigMapping().set_global(QConfig{.weight = weight});
    Graph prepared = prepare_qat(trained(), mapping);
    train(prepared, 5);
    prepared.eval();
    Graph converted = convert(prepared);
    const Tensor x = batch(200).first;
    const auto a = prepared(x).data().to_vector<float>(), b = converted(x).data().to_vector<float>();
    double signal = 0, noise = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      signal += double{a[i]} * a[i];
      noise += double{a[i] - b[i]} * (a[i] - b[i]);
    }
    EXPECT_GT(signal, 1e4 * noise) << group_size;
  }
}

}  // namespace
}  // namespace thimble::quant
