#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/quant/conversion.h"
#include <thimble/core/ops.h>
#include <thimble/core/text.h>
#include <thimble/nn/layers/activation.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/conv.h>
#include <thimble/nn/layers/pool.h>
#include <thimble/quant/analysis/error_report.h>
#include <thimble/quant/passes/dynamic.h>
#include <thimble/quant/passes/fuse.h>
#include <thimble/quant/passes/weight_only.h>

namespace thimble::quant {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

class ErrorReport : public QuantizeTest {
 protected:
  std::vector<TensorError> errors(const Graph& fused, const Graph& graph) {
    return quantization_error(fused, graph, std::vector<Tensor>{data});
  }
  static const TensorError& row(const std::vector<TensorError>& errors, const std::string& name) {
    for (const TensorError& e : errors)
      if (e.name == name) return e;
    ADD_FAILURE() << "no row of " << name;
    static const TensorError none;
    return none;
  }
  // What the row should say of these values.
  static void expect_error(const TensorError& e, const std::vector<double>& x, const std::vector<double>& y) {
    ASSERT_EQ(x.size(), y.size());
    double absolute = 0, largest = 0, signal = 0, noise = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const double d = std::abs(x[i] - y[i]);
      absolute += d;
      largest = std::max(largest, d);
      signal += x[i] * x[i];
      noise += d * d;
    }
    EXPECT_EQ(e.elements, static_cast<int64_t>(x.size()));
    EXPECT_NEAR(e.mean_error, absolute / static_cast<double>(x.size()), 1e-12 * absolute);
    EXPECT_EQ(e.largest_error, largest);
    EXPECT_NEAR(e.sqnr_db, 10 * std::log10(signal / noise), 1e-9);
  }
};

TEST(SqnrDb, IsTheLogarithmOfTheQuotient) {
  EXPECT_DOUBLE_EQ(sqnr_db(100, 1), 20);
  EXPECT_DOUBLE_EQ(sqnr_db(1, 100), -20);
  EXPECT_EQ(sqnr_db(1, 0), kInfinity);
  EXPECT_EQ(sqnr_db(0, 0), kInfinity);
  EXPECT_EQ(sqnr_db(0, 1), -kInfinity);
}

// Node by node, with the integers dequantized by hand.
TEST_F(ErrorReport, IsWhatTheValuesOfTheTwoGraphsSay) {
  nn::Sequential model(nn::Conv2d(3, 8, 3, {.padding = 1}), nn::ReLU(), nn::MaxPool2d(2), nn::Flatten(),
                       nn::Linear(8 * 4 * 4, 5));
  const Graph fused = fuse_conv_bn_relu(traced(model, {6, 3, 8, 8}));
  Converted result = quantized(fused);
  const auto rows = errors(fused, result.graph);
  std::vector<std::string> names;
  for (const TensorError& e : rows) names.push_back(e.name);
  EXPECT_THAT(names, testing::ElementsAre("0", "2", "3", "4"));
  EXPECT_EQ(rows[0].type, "Conv2dReLU");

  Graph reference = fused.clone();
  const auto values = reference.run_all(std::vector<Tensor>{data});
  const auto twins = result.graph.run_all(std::vector<Tensor>{data});
  const auto value_of = [](Graph& graph, const std::vector<Tensor>& all, const std::string& name) {
    const auto nodes = graph.nodes();
    for (size_t i = 0; i < nodes.size(); ++i)
      if (nodes[i]->name == name) return all[i].data().to_vector<double>();
    return std::vector<double>();
  };
  const auto q = result.graph.layer_as<QuantizedConv2d>(result.graph.find("0"))->quantization().output;
  ASSERT_TRUE(q);
  for (const std::string name : {"0", "2", "3"}) {
    auto y = value_of(result.graph, twins, name);
    for (double& v : y) v = static_cast<float>(static_cast<float>(v - q->zero_point) * q->scale);
    expect_error(row(rows, name), value_of(reference, values, name), y);
  }
  expect_error(row(rows, "4"), value_of(reference, values, "4"), value_of(result.graph, twins, "4"));
}

TEST_F(ErrorReport, AddsUpBatches) {
  nn::Sequential model(nn::Linear(8, 12), nn::ReLU(), nn::Linear(12, 5));
  const Graph fused = fuse_conv_bn_relu(traced(model));
  const Converted result = quantized(fused);
  const auto whole = errors(fused, result.graph);
  const std::vector<Tensor> parts{Tensor(data.slice(0, 0, 5)), Tensor(data.slice(0, 5, 16))};
  const auto in_parts = quantization_error(fused, result.graph, parts);
  ASSERT_EQ(in_parts.size(), whole.size());
  for (size_t i = 0; i < whole.size(); ++i) {
    EXPECT_EQ(in_parts[i].elements, whole[i].elements);
    // Not equal: the last bits of float products may depend on the batch, as they do in OpenBLAS on some processors.
    EXPECT_NEAR(in_parts[i].largest_error, whole[i].largest_error, 1e-6);
    EXPECT_NEAR(in_parts[i].mean_error, whole[i].mean_error, 1e-7);
    EXPECT_NEAR(in_parts[i].sqnr_db, whole[i].sqnr_db, 1e-3);
  }
}

TEST_F(ErrorReport, AGraphHasNoErrorAgainstItself) {
  nn::Sequential model(nn::Linear(8, 12), nn::ReLU(), nn::Linear(12, 5));
  const Graph fused = fuse_conv_bn_relu(traced(model));
  for (const TensorError& e : errors(fused, fused)) {
    EXPECT_EQ(e.mean_error, 0);
    EXPECT_EQ(e.largest_error, 0);
    EXPECT_EQ(e.sqnr_db, kInfinity);
  }
}

TEST_F(ErrorReport, KnowsTheParametersOfAdditionsAndWhatStaysFloat) {
  struct Net : nn::Module {
    nn::Submodule<nn::Linear> fc1{this, "fc1", 8, 8}, fc2{this, "fc2", 8, 8}, fc3{this, "fc3", 8, 3};
    Tensor forward(const Tensor& x) override {
      const Tensor h = relu(fc1(x));
      return sigmoid(fc3(relu(fc2(h) + h)));
    }
  } model;
  const Graph fused = fuse_conv_bn_relu(traced(model));
  const Converted result = quantized(fused);
  ASSERT_EQ(result.count("QuantizedAdd"), 1);
  const auto rows = errors(fused, result.graph);
  for (const char* name : {"fc1", "fc2", "add", "fc3", "sigmoid"}) {
    EXPECT_GT(row(rows, name).sqnr_db, 25) << name;
    EXPECT_LT(row(rows, name).sqnr_db, 80) << name;
  }
}

// A clamp cuts what the layer before gives; that layer's integers hold no more than the clamp lets through.
TEST_F(ErrorReport, AClampThatWasLeftOutIsTheLayerBeforeIt) {
  struct Net : nn::Module {
    nn::Submodule<nn::Linear> fc1{this, "fc1", 8, 8}, fc2{this, "fc2", 8, 3};
    Tensor forward(const Tensor& x) override { return fc2(clamp(fc1(x), -0.25, 0.5)); }
  } model;
  const Graph fused = fuse_conv_bn_relu(traced(model));
  const Converted result = quantized(fused);
  const auto rows = errors(fused, result.graph);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].name, "clamp");
  for (const TensorError& e : rows) EXPECT_GT(e.sqnr_db, 25) << e.name;
}

// So do the ops between the two, whose integers are those of the layer.
TEST_F(ErrorReport, WhatAClampBehindOtherOpsCutsIsNoError) {
  struct Net : nn::Module {
    nn::Submodule<nn::Conv2d> conv{this, "conv", 3, 8, 3, {.padding = 1}};
    nn::Submodule<nn::Linear> fc{this, "fc", 8 * 4 * 4, 3};
    Tensor forward(const Tensor& x) override { return fc(clamp(flatten(max_pool2d(conv(x), 2), 1), -0.25, 0.5)); }
  } model;
  const Graph fused = fuse_conv_bn_relu(traced(model, {6, 3, 8, 8}));
  const Converted result = quantized(fused);
  const auto rows = errors(fused, result.graph);
  std::vector<std::string> names;
  for (const TensorError& e : rows) {
    names.push_back(e.name);
    EXPECT_GT(e.sqnr_db, 25) << e.name;
  }
  EXPECT_THAT(names, testing::ElementsAre("clamp", "fc"));
}

// A clamp behind a mean does not say what the layer before may cut.
TEST_F(ErrorReport, LayersInFrontOfAMeanHaveRows) {
  struct Net : nn::Module {
    nn::Submodule<nn::Conv2d> conv{this, "conv", 3, 8, 3, {.padding = 1}};
    nn::Submodule<nn::Linear> fc{this, "fc", 8 * 4 * 4, 3};
    Tensor forward(const Tensor& x) override { return fc(flatten(clamp(avg_pool2d(conv(x), 2), -0.25, 0.5), 1)); }
  } model;
  const Graph fused = fuse_conv_bn_relu(traced(model, {6, 3, 8, 8}));
  const Converted result = quantized(fused);
  EXPECT_GT(row(errors(fused, result.graph), "conv").sqnr_db, 25);
}

// Causal attention, with one row that is masked as a whole.
struct MaskedScores : nn::Module {
  MaskedScores(float number, bool is_added, bool has_full_row) : out(number), adds(is_added) {
    NDArray hidden({6, 6});
    for (int64_t i = 0; i < 36; ++i) hidden.data<float>()[i] = i % 6 > i / 6 || (has_full_row && i / 6 == 3) ? 1 : 0;
    const Tensor is_hidden = greater(Tensor(hidden), Tensor::scalar(0));
    const Tensor number_of = where(is_hidden, Tensor::scalar(out, DType::float32), Tensor(NDArray::zeros({6, 6})));
    mask = register_buffer("mask", (adds ? number_of : is_hidden).data());
  }
  float out;
  bool adds;
  nn::Submodule<nn::Linear> query{this, "query", 8, 8}, key{this, "key", 8, 8}, head{this, "head", 8, 3};
  Tensor mask;
  Tensor forward(const Tensor& x) override {
    const Tensor k = key(x), scores = matmul(query(x), transpose(k, 1, 2));
    const Tensor masked = adds ? scores + mask : where(mask, Tensor::scalar(out, DType::float32), scores);
    return head(matmul(softmax(masked, -1), k));
  }
};

// What is masked out is minus infinity here and the least of integers there.
TEST_F(ErrorReport, ComparesWhatSoftmaxReadsAsThatSeesIt) {
  const float never = -std::numeric_limits<float>::infinity();
  const auto float_softmax = QConfigMapping::static_int8().set_type("softmax", std::nullopt);
  for (const bool adds : {true, false})
    for (const float out : {-1e9f, std::numeric_limits<float>::lowest(), never}) {
      SCOPED_TRACE(str(out, adds ? " is added" : " is chosen"));
      MaskedScores model(out, adds, /*has_full_row=*/out != never);
      const Graph fused = fuse_conv_bn_relu(traced(model, {5, 6, 8}));
      const Converted result = quantized(fused);
      ASSERT_EQ(result.count("QuantizedSoftmax"), 1) << result.graph.table();
      const auto rows = errors(fused, result.graph);
      for (const char* name : {adds ? "add" : "where", "softmax", "head"}) {
        EXPECT_GT(row(rows, name).sqnr_db, 25) << name;
        EXPECT_LT(row(rows, name).sqnr_db, 60) << name;
      }
      const auto of_floats = errors(fused, quantized(fused, float_softmax).graph);
      EXPECT_GT(row(of_floats, adds ? "add" : "where").sqnr_db, 25);
      EXPECT_LT(row(of_floats, adds ? "add" : "where").largest_error, 1);
    }
}

TEST_F(ErrorReport, WeightsErrByTheRoundingOfTheirScale) {
  for (const int bits : {8, 5, 2}) {
    nn::Sequential model(nn::Conv2d(3, 8, 3), nn::ReLU(), nn::Flatten(), nn::Linear(8 * 6 * 6, 5));
    const Graph fused = fuse_conv_bn_relu(traced(model, {6, 3, 8, 8}));
    QConfig config;
    config.weight.bits = bits;
    const Converted result = quantized(fused, QConfigMapping().set_global(config));
    const auto rows = weight_error(fused, result.graph);
    ASSERT_EQ(rows.size(), 2u);
    for (const TensorError& e : rows) {
      const NDArray weight = arrays_of(fused).at(e.name + ".weight");
      const QParams p = choose_qparams(weight, config.weight);
      const NDArray back = dequantize(quantize(weight, p), p);
      expect_error(e, weight.to_vector<double>(), back.to_vector<double>());
    }
  }
}

TEST_F(ErrorReport, DynamicAndWeightOnlyLayersHaveErrorsToo) {
  nn::Sequential model(nn::Linear(8, 12), nn::ReLU(), nn::Linear(12, 5));
  const Graph fused = fuse_conv_bn_relu(traced(model));
  const QuantizationSpec spec = QuantizationSpec::per_channel_weight();
  const auto affine = QuantizationSpec{.bits = 8, .axis = 0, .group_size = 4};
  const Graph graphs[] = {quantize_dynamic(fused),
                          quantize_weight_only(fused, QConfigMapping().set_global(QConfig{.weight = spec})),
                          quantize_weight_only(fused, QConfigMapping().set_global(QConfig{.weight = affine}))};
  for (const Graph& graph : graphs) {
    for (const auto& rows : {errors(fused, graph), weight_error(fused, graph)}) {
      ASSERT_EQ(rows.size(), 2u) << graph.table();
      for (const TensorError& e : rows) {
        EXPECT_GT(e.sqnr_db, 35) << e.name;
        EXPECT_LT(e.sqnr_db, 80) << e.name;
      }
    }
  }
}

TEST_F(ErrorReport, FloatLayersHaveNoRowOfWeights) {
  nn::Sequential model(nn::Linear(8, 12), nn::ReLU(), nn::Linear(12, 5));
  const Graph fused = fuse_conv_bn_relu(traced(model));
  const Converted result = quantized(fused, QConfigMapping::static_int8().set_name("0", std::nullopt));
  const auto rows = weight_error(fused, result.graph);
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].name, "2");
}

TEST_F(ErrorReport, WhatCannotBeComparedIsRefused) {
  nn::Sequential model(nn::Linear(8, 12), nn::Linear(12, 5)), other(nn::Linear(8, 13), nn::Linear(13, 5));
  const Graph graph = traced(model), wider = traced(other);
  EXPECT_THROW(quantization_error(graph, graph, {}), ValueError);
  EXPECT_THROW(errors(graph, wider), ShapeError);
  EXPECT_THROW(weight_error(graph, quantized(wider).graph), ShapeError);
}

}  // namespace
}  // namespace thimble::quant
