#include <memory>
#include <unordered_map>
#include <utility>

#include <thimble/core/ops/matmul.h>
#include <thimble/nn/graph/node_call.h>
#include <thimble/nn/layers/conv.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/quant/layers/quantized_layer.h>
#include <thimble/quant/layers/quantized_ops.h>
#include <thimble/quant/passes/layer_by_layer.h>
#include <thimble/quant/passes/node_roles.h>
#include <thimble/quant/qat/qat_layers.h>
#include <thimble/quant/quantize.h>

namespace thimble::quant {

using nn::Graph;
using nn::Node;

namespace {

Shape of_one_sample(const Shape& shape) {
  Shape sample = shape;
  sample[0] = 1;
  return sample;
}

const IntegerProduct* integer_product(const Graph& integers, const std::string& name) {
  const Node* node = integers.find(name);
  return node ? integers.layer_as<IntegerProduct>(node) : nullptr;
}

// The graph that computes this node's value and nothing else.
std::vector<Tensor> outputs(Graph& graph, Node* node, std::span<const Tensor> batches) {
  graph.set_output(node);
  graph.eliminate_dead_nodes();
  const NoGrad guard;
  std::vector<Tensor> values;
  for (const Tensor& batch : batches) values.push_back(graph(batch));
  return values;
}

}  // namespace

void check_batches(const Graph& graph, std::span<const Tensor> batches, std::string_view pass) {
  check<ValueError>(graph.inputs().size() == 1, pass, ": the graph has ", graph.inputs().size(), " inputs, expected 1");
  int64_t samples = 0;
  for (const Tensor& batch : batches) {
    check<ValueError>(batch.defined() && batch.dtype() == DType::float32 && batch.ndim() > 0, pass,
                      ": a batch is not of float32 samples");
    check<ValueError>(of_one_sample(batch.shape()) == of_one_sample(batches[0].shape()), pass, ": batches of shapes ",
                      batches[0].shape(), " and ", batch.shape(), " differ in more than the number of samples");
    if (batch.numel() > 0) min_max(batch.data(), {}, pass);
    samples += batch.shape(0);
  }
  check<ValueError>(samples > 0, pass, ": there is no data");
}

std::vector<Node*> settled_products(Graph& prepared, std::string_view pass) {
  const Graph integers = convert(prepared);
  std::vector<Node*> products;
  for (Node* node : prepared.nodes()) {
    check<ValueError>(!prepared.layer_as<QATLayer>(node), pass, ": '", node->name,
                      "' is a layer of quantization-aware training; give a graph of prepare()");
    if (!is_product(prepared, node) || !is_marked(node) || !integer_product(integers, node->name)) continue;
    WeightQuantization quantization = weight_quantization_of(node);
    quantization.scale = quantization.qparams(weight_of(prepared, node).data()).scale;
    mark(node, quantization);
    products.push_back(node);
  }
  return products;
}

Graph without_observers(const Graph& prepared) {
  Graph graph = prepared.clone();
  for (Node* node : graph.nodes()) {
    if (!observer_of(graph, node) && !graph.is_layer(node, "SoftmaxRange")) continue;
    graph.replace_uses(node, node->inputs[0]);
    graph.erase(node);
  }
  graph.eval();
  return graph;
}

std::vector<Tensor> values_at(const Graph& graph, const std::string& node, std::span<const Tensor> batches) {
  Graph part = graph.clone();
  return outputs(part, part.find(node), batches);
}

void run_layer_by_layer(const Graph& graph, std::span<const Tensor> batches,
                        const std::function<void(const Node*, const std::vector<Tensor>&)>& before) {
  const std::vector<Node*> nodes = graph.nodes();
  std::unordered_map<const Node*, const Node*> last_user;
  for (const Node* node : nodes)
    for (const Node* input : node->inputs) last_user[input] = node;
  const NoGrad guard;
  std::unordered_map<const Node*, std::vector<Tensor>> values;
  for (const Node* node : nodes) {
    std::vector<Tensor>& value = values[node];
    if (node->kind == Node::Kind::tensor) value.assign(batches.size(), graph.tensor(node));
    if (node->kind == Node::Kind::input) value.assign(batches.begin(), batches.end());
    if (node->kind != Node::Kind::layer && node->kind != Node::Kind::op) continue;
    if (node->kind == Node::Kind::layer && !node->inputs.empty()) before(node, values.at(node->inputs[0]));
    const nn::NodeCall call(graph, *node);
    for (size_t b = 0; b < batches.size(); ++b) {
      std::vector<Tensor> inputs;
      for (const Node* input : node->inputs) inputs.push_back(values.at(input)[b]);
      value.push_back(call(inputs));
    }
    for (const Node* input : node->inputs)
      if (last_user.at(input) == node) values.at(input).clear();
  }
}

std::vector<Tensor> integer_inputs(const Graph& prepared, const std::string& product, std::span<const Tensor> batches) {
  Graph integers = convert(prepared);
  const TensorQParams p = integer_product(integers, product)->quantization().input;
  Node* input = integers.find(product)->inputs[0];
  return outputs(integers, integers.add_layer(product + ".input", std::make_shared<Dequantize>(p), {input}, input),
                 batches);
}

Tensor apply_product(const Graph& graph, const Node* product, const Tensor& x, const Tensor& weight,
                     const Tensor& bias) {
  const auto* conv = graph.layer_as<nn::Conv2d>(product);
  return conv ? conv2d(x, weight, bias, conv->options()) : linear(x, weight, bias);
}

}  // namespace thimble::quant
