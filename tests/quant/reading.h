// A converted graph's values as numbers, for tests.
#pragma once

#include <algorithm>
#include <unordered_map>
#include <vector>

#include <gtest/gtest.h>

#include "tests/quant/conversion.h"
#include <thimble/core/ops.h>
#include <thimble/quant/layers/quantized_conv.h>
#include <thimble/quant/layers/quantized_ops.h>
#include <thimble/quant/passes/node_roles.h>

namespace thimble::quant {

inline NDArray in_doubles(const NDArray& q, const TensorQParams& p) {
  auto values = q.to_vector<double>();
  for (double& v : values) v = (v - p.zero_point) * double{p.scale};
  return NDArray::from_vector(values, q.shape());
}

/// What a graph of integers says that its values are, by the parameters of whoever made each value.
class Reading {
 public:
  Reading(Graph& graph, const Tensor& x) : graph_(graph) {
    const std::vector<Tensor> values = graph.run_all(std::vector<Tensor>{x});
    const std::vector<Node*> nodes = graph.nodes();
    for (size_t i = 0; i < nodes.size(); ++i) {
      const NDArray value = values[i].data();
      if (value.dtype() == DType::uint8) qparams_[nodes[i]] = parameters_of(nodes[i]);
      numbers_[nodes[i]] = value.dtype() == DType::uint8 ? in_doubles(value, qparams_.at(nodes[i])) : value;
    }
  }

  /// The node's value in float64, or as it is if it is no integer's.
  const NDArray& numbers(const Node* node) const { return numbers_.at(node); }
  bool is_integer(const Node* node) const { return qparams_.contains(node); }
  const TensorQParams& qparams(const Node* node) const { return qparams_.at(node); }

  /// The node's value, and what it should be, computed in float64 from the values that it reads.
  void expect_right(const Node* node) const {
    std::vector<Tensor> inputs;
    for (const Node* input : node->inputs) inputs.push_back(in_double(numbers_.at(input)));
    if (inputs.empty() || (!is_integer(node) && !is_product(node))) return;
    const auto got = numbers_.at(node).to_vector<double>();
    auto expected = right_answer(node, inputs).data().to_vector<double>();
    ASSERT_EQ(got.size(), expected.size());
    double tolerance = 1e-5 * largest(expected) + 1e-30;
    if (is_integer(node)) {
      const TensorQParams& p = qparams_.at(node);
      // A step at most between rounding here and there, of half of which the scale is the unit.
      tolerance = 0.501 * double{p.scale} + 1e-5 * largest(got);
      for (double& v : expected)
        v = std::clamp(v, (0 - p.zero_point) * double{p.scale}, (p.qmax() - p.zero_point) * double{p.scale});
    }
    for (size_t i = 0; i < got.size(); ++i)
      ASSERT_NEAR(got[i], expected[i], tolerance) << node->name << ", element " << i;
  }

 private:
  // Indices stay what they are.
  static Tensor in_double(const NDArray& x) { return is_floating_point(x.dtype()) ? x.to(DType::float64) : x; }

  bool is_product(const Node* node) const { return graph_.layer_as<IntegerProduct>(node) != nullptr; }

  static double largest(const std::vector<double>& values) {
    double most = 0;
    for (const double v : values) most = std::max(most, std::abs(v));
    return most;
  }

  TensorQParams parameters_of(const Node* node) const {
    if (const auto* product = graph_.layer_as<IntegerProduct>(node)) return *product->quantization().output;
    if (graph_.is_layer(node, "Quantize")) return TensorQParams::from_attributes(graph_.layer(node).attributes(), "");
    if (node->kind == Node::Kind::layer && graph_.layer(node).attributes().contains("output_scale"))
      return TensorQParams::from_attributes(graph_.layer(node).attributes(), "output_");
    if (node->kind == Node::Kind::tensor) return parameters_of_constant(node);
    for (const Node* input : values_of(graph_, node))
      EXPECT_EQ(qparams_.at(input), qparams_.at(node->inputs[0])) << node->name << " mixes parameters";
    TensorQParams p = qparams_.at(node->inputs[0]);
    if (graph_.is_layer(node, "QuantizedScale")) p.scale = static_cast<float>(double{p.scale} * factor_of(node));
    return p;
  }

  double factor_of(const Node* scale) const { return graph_.layer(scale).attributes().get<double>("factor"); }

  // Those by which its readers read it.
  TensorQParams parameters_of_constant(const Node* node) const {
    const Node* reader = graph_.users(node).at(0);
    return TensorQParams::from_attributes(graph_.layer(reader).attributes(), reader->inputs[0] == node ? "a_" : "b_");
  }

  Tensor right_answer(const Node* node, const std::vector<Tensor>& x) const {
    if (const auto* product = graph_.layer_as<IntegerProduct>(node)) {
      const auto arrays = arrays_of(*product);
      Shape per_channel = Shape::filled(arrays.at("weight").ndim(), 1);
      per_channel[0] = arrays.at("weight").shape(0);
      const Tensor scale = arrays.at("weight_scale").to(DType::float64);
      const Tensor weight = Tensor(arrays.at("weight").to(DType::float64)) * reshape(scale, per_channel);
      const Tensor bias =
          Tensor(arrays.at("bias").to(DType::float64)) * scale * double{product->quantization().input.scale};
      const auto* conv = graph_.layer_as<QuantizedConv2d>(node);
      const Tensor y = conv ? conv2d(x[0], weight, bias, conv->options()) : linear(x[0], weight, bias);
      return product->quantization().relu ? relu(y) : y;
    }
    for (const char* same : {"Quantize", "Requantize", "Dropout"})
      if (graph_.is_layer(node, same)) return x[0];
    if (graph_.is_layer(node, "QuantizedAdd")) {
      const Tensor y = x[0] + x[1];
      return graph_.layer(node).attributes().get<bool>("relu") ? relu(y) : y;
    }
    if (graph_.is_layer(node, "QuantizedSub")) return x[0] - x[1];
    if (graph_.is_layer(node, "QuantizedMul")) return x[0] * x[1];
    if (graph_.is_layer(node, "QuantizedMaximum")) return maximum(x[0], x[1]);
    if (graph_.is_layer(node, "QuantizedMinimum")) return minimum(x[0], x[1]);
    if (graph_.is_layer(node, "QuantizedTable")) return looked_up(node, x[0]);
    if (graph_.is_layer(node, "QuantizedScale")) return x[0] * factor_of(node);
    if (graph_.is_layer(node, "QuantizedMatMul")) return matmul(x[0], x[1]);
    if (graph_.is_layer(node, "QuantizedLayerNorm")) return normalized(node, x[0]);
    if (graph_.is_layer(node, "QuantizedGroupNorm")) return normalized_in_groups(node, x[0]);
    if (node->kind == Node::Kind::layer) {
      const Attributes a = graph_.layer(node).attributes();
      if (graph_.is_layer(node, "QuantizedSoftmax")) return softmax(x[0], a.get<int64_t>("axis"));
      if (graph_.is_layer(node, "QuantizedMean"))
        return mean(x[0], Shape(a.get<std::vector<int64_t>>("axes")), a.get<bool>("keepdim"));
    }
    if (graph_.is_layer(node, "QuantizedClamp")) {
      const Attributes bounds = graph_.layer(node).attributes();
      const TensorQParams& p = qparams_.at(node);
      const auto number = [&](const char* bound) {
        return static_cast<double>(bounds.get<int64_t>(bound) - p.zero_point) * double{p.scale};
      };
      return clamp(x[0], number("low"), number("high"));
    }
    Attributes attributes = node->attributes;
    if (node->target.starts_with("pad")) attributes.set("value", 0.0);
    return apply(op_factory(node->target)(attributes), x);
  }

  Tensor state_in_double(const Node* node, const char* name) const {
    const auto arrays = arrays_of(graph_.layer(node));
    return arrays.contains(name) ? Tensor(arrays.at(name).to(DType::float64)) : Tensor();
  }

  Tensor normalized(const Node* node, const Tensor& x) const {
    const Attributes a = graph_.layer(node).attributes();
    return layer_norm(x, Shape(a.get<std::vector<int64_t>>("normalized_shape")), state_in_double(node, "weight"),
                      state_in_double(node, "bias"), a.get<double>("eps"));
  }

  Tensor normalized_in_groups(const Node* node, const Tensor& x) const {
    const Attributes a = graph_.layer(node).attributes();
    return group_norm(x, a.get<int64_t>("num_groups"), state_in_double(node, "weight"), state_in_double(node, "bias"),
                      a.get<double>("eps"));
  }

  Tensor looked_up(const Node* node, const Tensor& x) const {
    const TensorQParams &from = qparams_.at(node->inputs[0]), &to = qparams_.at(node);
    EXPECT_EQ(TensorQParams::from_attributes(graph_.layer(node).attributes(), "input_"), from) << node->name;
    const auto table = arrays_of(graph_.layer(node)).at("table").to_vector<double>();
    auto y = x.data().to_vector<double>();
    for (double& v : y) {
      const auto q = static_cast<size_t>(std::lround(v / double{from.scale}) + from.zero_point);
      v = (table.at(q) - to.zero_point) * double{to.scale};
    }
    return Tensor(NDArray::from_vector(y, x.shape()));
  }

  Graph& graph_;
  std::unordered_map<const Node*, TensorQParams> qparams_;
  std::unordered_map<const Node*, NDArray> numbers_;
};

}  // namespace thimble::quant
