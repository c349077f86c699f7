// Layers that are called more than once: each call is an integer layer of its own, all have the same weights.
#include <set>

#include "tests/quant/conversion.h"
#include "tests/serialization/files.h"
#include <thimble/core/ops.h>
#include <thimble/nn/layers/conv.h>
#include <thimble/nn/layers/conv_bn_relu.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/quant/analysis/mixed_precision.h>
#include <thimble/quant/analysis/sensitivity.h>
#include <thimble/quant/passes/adaround.h>
#include <thimble/quant/passes/bias_correction.h>
#include <thimble/quant/passes/dynamic.h>
#include <thimble/quant/passes/equalization.h>
#include <thimble/quant/passes/fuse.h>
#include <thimble/serialization/checkpoint.h>
#include <thimble/serialization/safetensors.h>

namespace thimble::quant {
namespace {

// A tower on the image and on another that is darker: their ranges differ.
struct Siamese : nn::Module {
  nn::Submodule<nn::ConvBNReLU> block{this, "block", 3, 16, 3, nn::Conv2d::Options{.padding = 1}};
  nn::Submodule<nn::Conv2d> conv{this, "conv", 16, 24, 3, {.stride = 2}};
  nn::Submodule<nn::Linear> fc{this, "fc", 24 * 3 * 3, 16};
  nn::Submodule<nn::Linear> head{this, "head", 32, 5};

  Tensor tower(const Tensor& x) { return relu(fc(flatten(relu(conv(block(x))), 1))); }
  Tensor forward(const Tensor& x) override { return head(concat({tower(x), tower(x * 0.1)}, 1)); }
};

// h' = relu(W x + U h), 12 times.
struct Unrolled : nn::Module {
  nn::Submodule<nn::Linear> in{this, "in", 8, 32};
  nn::Submodule<nn::Linear> hidden{this, "hidden", 32, 32};
  nn::Submodule<nn::Linear> out{this, "out", 32, 4};

  Tensor forward(const Tensor& x) override {
    Tensor h = relu(in(x));
    for (int t = 1; t < 12; ++t) h = relu(in(x * (1.0 / t)) + hidden(h));
    return out(h);
  }
};

const IntegerProduct& product_at(const Graph& graph, const std::string& name) {
  const auto* layer = graph.layer_as<IntegerProduct>(graph.find(name));
  check(layer != nullptr, "'", name, "' is no integer product:\n", graph.table());
  return *layer;
}

const void* weights_at(const Graph& graph, const std::string& name) {
  return product_at(graph, name).weights().values().data().address();
}

std::set<const void*> weights_of_all(const Graph& graph) {
  std::set<const void*> all;
  for (const Node* node : graph.nodes())
    if (graph.layer_as<IntegerProduct>(node)) all.insert(weights_at(graph, node->name));
  return all;
}

class SharedLayers : public QuantizeTest {
 protected:
  Graph siamese() { return traced(model, {16, 3, 8, 8}); }

  Graph prepared_and_seen(const Graph& fused) {
    Graph prepared = prepare(fused, QConfigMapping::static_int8());
    prepared.eval();
    prepared(Tensor(data));
    return prepared;
  }

  Siamese model;
  TempFolder folder;
};

TEST_F(SharedLayers, EachCallIsAnIntegerLayerAndAllHaveOneSetOfWeights) {
  const Graph graph = siamese();
  Converted result = quantized(graph);
  EXPECT_EQ(result.count("QuantizedConv2d"), 4) << result.graph.table();
  EXPECT_EQ(result.count("QuantizedLinear"), 3);
  EXPECT_EQ(result.count("Conv2dReLU") + result.count("LinearReLU"), 0);
  EXPECT_EQ(weights_of_all(result.graph).size(), 4u);
  for (const char* name : {"block.conv", "conv", "fc"}) {
    EXPECT_FALSE(result.layer(name).kept_float);
    const std::string again = str(name, "_1");
    EXPECT_FALSE(result.layer(again).kept_float);
    EXPECT_EQ(weights_at(result.graph, name), weights_at(result.graph, again));
    const TensorQParams one = product_at(result.graph, name).quantization().input,
                        other = product_at(result.graph, again).quantization().input;
    EXPECT_GT(one.scale, 4 * other.scale) << name;
  }
  EXPECT_GT(sqnr(graph, result), 30);
  expect_integers(result.graph);
  expect_deterministic(result.graph);
}

TEST_F(SharedLayers, AnUnrolledCellConvertsWhole) {
  Unrolled cell;
  const Graph graph = traced(cell);
  Converted result = quantized(graph);
  EXPECT_EQ(result.count("QuantizedLinear"), 24) << result.graph.table();
  EXPECT_EQ(weights_of_all(result.graph).size(), 3u);
  EXPECT_GT(sqnr(graph, result), 25);
  expect_integers(result.graph);
  expect_deterministic(result.graph);
}

TEST_F(SharedLayers, ShareWeightsAfterCopyingSavingAndLoadingToo) {
  const Graph graph = siamese();
  Converted result = quantized(graph);
  const auto expected = result.graph(Tensor(data)).data().to_vector<float>();
  Graph copy = result.graph.clone();
  EXPECT_EQ(weights_of_all(copy).size(), 4u);
  EXPECT_EQ(copy(Tensor(data)).data().to_vector<float>(), expected);

  save_model(result.graph, folder / "int8");
  EXPECT_EQ(static_cast<int64_t>(std::filesystem::file_size(folder / "int8")), saved_size(result.graph));
  int64_t weights = 0;
  for (const auto& [name, array] : load_safetensors(folder / "int8").tensors)
    if (array.dtype() == DType::int8) weights += array.nbytes();
  EXPECT_EQ(weights, 16 * 27 + 24 * 144 + 16 * 216 + 5 * 32);
  for (const bool mapped : {true, false}) {
    Graph loaded = load_model(folder / "int8", {.mapped = mapped});
    EXPECT_EQ(weights_of_all(loaded).size(), 4u);
    EXPECT_EQ(loaded.table(), result.graph.table());
    EXPECT_EQ(loaded(Tensor(data)).data().to_vector<float>(), expected);
    save_model(loaded, folder / "again");
    EXPECT_EQ(read_bytes(folder / "again"), read_bytes(folder / "int8"));
    EXPECT_EQ(weights_of_all(loaded.clone()).size(), 4u);  // a copy of one that has run
  }
}

// Who gives one of them other weights changes no other.
TEST_F(SharedLayers, AreWrittenApart) {
  Converted result = quantized(siamese());
  Graph copy = result.graph.clone();
  const auto expected = result.graph(Tensor(data)).data().to_vector<float>();
  EXPECT_EQ(copy(Tensor(data)).data().to_vector<float>(), expected);
  product_at(copy, "conv").weights().values().mutable_data().fill(0);
  EXPECT_NE(copy(Tensor(data)).data().to_vector<float>(), expected);
  EXPECT_NE(weights_at(copy, "conv"), weights_at(copy, "conv_1"));
  EXPECT_EQ(result.graph(Tensor(data)).data().to_vector<float>(), expected);
}

// Other memory at the same address, and the same memory with other contents, is packed anew.
TEST_F(SharedLayers, NewWeightsAreSeen) {
  const Graph graph = siamese();
  Converted result = quantized(graph);
  for (int round = 0; round < 8; ++round) {
    Siamese other;
    const Graph others = traced(other, {16, 3, 8, 8});
    Converted fresh = quantized(others);
    NamedArrays arrays;
    for (const auto& [name, tensor] : fresh.graph.state()) arrays.emplace_back(name, tensor.data().clone());
    Graph twin = fresh.graph.clone();
    twin.load_state(arrays);
    const auto expected = fresh.graph(Tensor(data)).data().to_vector<float>();
    EXPECT_EQ(twin(Tensor(data)).data().to_vector<float>(), expected);
    EXPECT_EQ(fresh.graph.run_all(std::vector<Tensor>{data}).back().data().to_vector<float>(), expected);
  }
}

TEST_F(SharedLayers, ACallMayStayFloatOrHaveOtherBits) {
  const Graph graph = siamese();
  Converted one = quantized(graph, QConfigMapping::static_int8().set_name("conv_1", std::nullopt));
  EXPECT_EQ(one.count("QuantizedConv2d"), 3) << one.graph.table();
  EXPECT_EQ(one.count("Conv2dReLU"), 1);
  EXPECT_EQ(one.layer("conv_1").reason, "its configuration keeps it float");
  EXPECT_GT(sqnr(graph, one), 30);
  QConfig four;
  four.weight.bits = 4;
  Converted two = quantized(graph, QConfigMapping::static_int8().set_name("conv_1", four));
  EXPECT_EQ(two.layer("conv").weight_bits, 8);
  EXPECT_EQ(two.layer("conv_1").weight_bits, 4);
  EXPECT_EQ(weights_of_all(two.graph).size(), 5u);
  EXPECT_GT(sqnr(graph, two), 12);
  expect_integers(two.graph);
}

// What a bias needs of a channel's scale depends on the input: such calls have scales of their own.
TEST_F(SharedLayers, AChannelOfZerosHasScalesOfItsOwn) {
  const Graph graph = siamese();
  Graph edited = graph.clone();
  NDArray& weight = dynamic_cast<nn::Conv2d&>(edited.layer(edited.find("conv"))).weight.mutable_data();
  weight.slice(0, 2, 3).fill(0);
  Converted result = quantized(edited);
  EXPECT_EQ(weights_at(result.graph, "conv"), weights_at(result.graph, "conv_1"));
  EXPECT_NE(product_at(result.graph, "conv").weights().scale().data().to_vector<float>(),
            product_at(result.graph, "conv_1").weights().scale().data().to_vector<float>());
  EXPECT_GT(sqnr(edited, result), 30);
  expect_integers(result.graph);
}

TEST_F(SharedLayers, ReluBehindOneCallIsPartOfIt) {
  struct Net : nn::Module {
    nn::Submodule<nn::Linear> shared{this, "shared", 8, 8}, fc{this, "fc", 8, 3};
    Tensor forward(const Tensor& x) override { return fc(shared(relu(shared(x)))); }
  } net;
  const Graph graph = traced(net);
  Converted result = quantized(graph);
  EXPECT_EQ(result.count("QuantizedLinear"), 3);
  EXPECT_EQ(result.count("relu") + result.count("QuantizedClamp"), 0) << result.graph.table();
  EXPECT_EQ(result.count("Quantize"), 1);
  EXPECT_EQ(weights_of_all(result.graph).size(), 2u);
  EXPECT_GT(sqnr(graph, result), 30);
  expect_integers(result.graph);
}

TEST_F(SharedLayers, AreOneLayerToDynamicQuantization) {
  const Graph graph = siamese();
  ConversionReport report;
  Converted result{quantize_dynamic(graph, QConfigMapping::static_int8(), &report), report};
  EXPECT_EQ(result.count("DynamicQuantizedConv2d"), 4);
  EXPECT_EQ(result.count("DynamicQuantizedLinear"), 3);
  EXPECT_EQ(result.graph.children().size(), 4u);
  EXPECT_GT(sqnr(graph, result), 30);
}

TEST_F(SharedLayers, AreRoundedOnceForAllCalls) {
  const Graph fused = fuse_conv_bn_relu(siamese());
  const Tensor batches[] = {Tensor(data)};
  const Graph prepared = prepared_and_seen(fused);
  AdaRoundReport report;
  const Graph rounded = adaround(prepared, batches, {.iterations = 60, .batch_size = 8}, &report);
  ASSERT_EQ(report.size(), 7u);
  double nearest = 0, learned = 0;
  for (const RoundedLayer& layer : report) nearest += layer.nearest_error, learned += layer.error;
  EXPECT_LT(learned, nearest);
  Converted result{convert(rounded), {}};
  EXPECT_EQ(weights_of_all(result.graph).size(), 4u);
  EXPECT_GT(sqnr(fused, result), 30);
  expect_integers(result.graph);
}

TEST_F(SharedLayers, HaveABiasForEachCall) {
  const Graph fused = fuse_conv_bn_relu(siamese());
  const Tensor batches[] = {Tensor(data)};
  const Graph prepared = prepared_and_seen(fused);
  const Graph corrected = bias_correction(prepared, fused, batches);
  const auto biases = arrays_of(corrected);
  EXPECT_NE(biases.at("conv.bias").to_vector<float>(), biases.at("conv_1.bias").to_vector<float>());
  Converted result{convert(corrected), {}};
  EXPECT_EQ(weights_of_all(result.graph).size(), 4u);
  EXPECT_GT(sqnr(fused, result), 30);
  expect_integers(result.graph);
  // Rounded afterwards, they still are one set of weights.
  Converted both{convert(adaround(corrected, batches, {.iterations = 20, .batch_size = 8})), {}};
  EXPECT_EQ(weights_of_all(both.graph).size(), 4u);
}

TEST_F(SharedLayers, AreLeftAsTheyAreByEqualization) {
  const Graph fused = fuse_conv_bn_relu(siamese());
  EqualizationReport report;
  const Graph equalized = cross_layer_equalization(fused, &report);
  EXPECT_TRUE(report.empty());
}

TEST_F(SharedLayers, AreOneProductToChoosers) {
  CalibratedGraph calibrated(siamese(), QConfigMapping::static_int8(), [&](Graph& graph) { graph(Tensor(data)); });
  ASSERT_EQ(calibrated.products().size(), 4u);
  EXPECT_EQ(calibrated.products()[1].name, "conv");
  EXPECT_EQ(calibrated.products()[1].other_calls, std::vector<std::string>{"conv_1"});
  const Tensor batches[] = {Tensor(data)};
  const auto count_float = [](Graph& graph) {
    double count = 0;
    for (const Node* node : graph.nodes()) count += graph.is_layer(node, "Conv2dReLU");
    return count;
  };
  const Sensitivity sensitivity = measure_sensitivity(calibrated, count_float, batches, {});
  ASSERT_EQ(sensitivity.layers.size(), 4u);
  EXPECT_EQ(sensitivity.layers[1].name, "conv");

  MixedPrecision choice(calibrated, [](Graph&) { return 0.0; }, {.weight_bits = {4, 8}});
  const PrecisionChoice smallest = choice.best_within(choice.smallest_size());
  const Graph graph = calibrated.quantized(smallest.mapping);
  for (const char* name : {"conv", "conv_1"}) EXPECT_EQ(product_at(graph, name).weights().format().bits, 4);
  EXPECT_EQ(weights_of_all(graph).size(), 4u);
}

}  // namespace
}  // namespace thimble::quant
