#include <algorithm>
#include <functional>
#include <numeric>
#include <unordered_map>
#include <unordered_set>

#include <thimble/core/text_numbers.h>
#include <thimble/core/text_table.h>
#include <thimble/nn/graph/interpreter.h>
#include <thimble/nn/graph/node_type.h>
#include <thimble/nn/graph/summary.h>
#include <thimble/nn/graph/trace.h>

namespace thimble::nn {

namespace {

using Values = std::vector<const Tensor*>;

// Of lines one number, else one for each dimension.
int64_t kernel_elements(const Attributes& a) {
  for (const auto& [key, value] : a)
    if (const auto* line = std::get_if<int64_t>(&value); key == "kernel_size" && line) return *line;
  const auto sizes = a.get<std::vector<int64_t>>("kernel_size");
  return std::accumulate(sizes.begin(), sizes.end(), int64_t{1}, std::multiplies<>());
}

// Each pixel of a convolution's output, or of a transposed one's input, meets a kernel for each pair of channels of a
// group.
int64_t of_convolution(const std::string& type, const Attributes& a, const Values& inputs, const Tensor& y) {
  const int64_t groups = a.get<int64_t>("groups", 1), kernel = kernel_elements(a);
  if (type.find("Transpose") != std::string::npos)
    return inputs[0]->numel() * kernel * (a.get<int64_t>("out_channels") / groups);
  return y.numel() * kernel * (a.get<int64_t>("in_channels") / groups);
}

// Each step of each sequence meets all weights.
int64_t of_recurrent_layer(const std::string& type, const Attributes& a, const Values& inputs) {
  const int64_t gates = type.ends_with("LSTM") ? 4 : type.ends_with("GRU") ? 3 : 1;
  const int64_t hidden = a.get<int64_t>("hidden_size"), directions = a.get<bool>("bidirectional") ? 2 : 1;
  const int64_t further_layers = a.get<int64_t>("num_layers") - 1;
  const int64_t features = a.get<int64_t>("input_size") + hidden + further_layers * (directions * hidden + hidden);
  return inputs[0]->shape(0) * inputs[0]->shape(1) * directions * gates * hidden * features;
}

int64_t of_layer(const Module& layer, const Values& inputs, const Tensor& y) {
  const Attributes a = layer.attributes();
  if (a.contains("in_features")) return y.numel() * a.get<int64_t>("in_features");
  if (a.contains("in_channels")) return of_convolution(layer.type(), a, inputs, y);
  if (a.contains("hidden_size")) return of_recurrent_layer(layer.type(), a, inputs);
  if (layer.type() == "QuantizedMatMul") return y.numel() * inputs[0]->shape(-1);
  return 0;
}

int64_t of_op(const Node& node, const Values& inputs, const Tensor& y) {
  const std::string& op = node.target;
  if (op == "matmul" || op == "linear") return y.numel() * inputs[0]->shape(-1);
  if (op == "conv_transpose2d" || op == "conv_transpose3d")
    return inputs[0]->numel() * inputs[1]->numel() / std::max<int64_t>(inputs[1]->shape(0), 1);
  if (op == "conv1d" || op == "conv2d" || op == "conv3d")
    return y.numel() * inputs[1]->numel() / std::max<int64_t>(inputs[1]->shape(0), 1);
  if (op == "lstm" || op == "gru" || op == "rnn")
    return inputs[0]->shape(0) * inputs[0]->shape(1) * (inputs[1]->numel() + inputs[2]->numel());
  return 0;
}

int64_t bytes_of(const Tensor& tensor) { return tensor.numel() * static_cast<int64_t>(itemsize(tensor.dtype())); }

// Of tensors that were not seen before.
class WeightCounter {
 public:
  void add(const NamedTensors& state, LayerSummary& to) {
    for (const auto& [name, tensor] : state) {
      if (!seen_.insert(tensor.id()).second) continue;
      to.weight_bytes += bytes_of(tensor);
      if (tensor.requires_grad()) to.parameters += tensor.numel();
    }
  }

 private:
  std::unordered_set<const void*> seen_;
};

}  // namespace

ModelSummary summary(const Graph& given, const std::vector<Tensor>& inputs) {
  const NoGrad guard;
  Graph graph = given.clone();
  graph.eval();
  const std::vector<Node*> nodes = graph.nodes();
  const std::vector<Tensor> values = Interpreter(graph).run_all(inputs);
  std::unordered_map<const Node*, const Tensor*> value_of;
  for (size_t i = 0; i < nodes.size(); ++i) value_of[nodes[i]] = &values[i];
  ModelSummary all;
  WeightCounter weights;
  for (size_t i = 0; i < nodes.size(); ++i) {
    const Node* node = nodes[i];
    if (node->kind != Node::Kind::layer && node->kind != Node::Kind::op) continue;
    Values of_inputs;
    for (const Node* input : node->inputs) of_inputs.push_back(value_of.at(input));
    const bool is_layer = node->kind == Node::Kind::layer;
    LayerSummary layer{.name = node->name,
                       .type = type_of(graph, node),
                       .output_shape = values[i].shape(),
                       .multiply_adds = is_layer ? of_layer(graph.layer(node), of_inputs, values[i])
                                                 : of_op(*node, of_inputs, values[i]),
                       .output_bytes = bytes_of(values[i])};
    if (is_layer) weights.add(graph.layer(node).state(), layer);
    all.multiply_adds += layer.multiply_adds;
    all.output_bytes += layer.output_bytes;
    all.layers.push_back(std::move(layer));
  }
  LayerSummary whole;
  WeightCounter().add(graph.state(), whole);
  all.parameters = whole.parameters;
  all.weight_bytes = whole.weight_bytes;
  return all;
}

ModelSummary summary(Module& model, const std::vector<Tensor>& inputs) { return summary(trace(model, inputs), inputs); }

std::string ModelSummary::text() const {
  using thimble::detail::with_commas;
  thimble::detail::TextTable table({"layer", "type", "output", "parameters", "multiply-adds", "output bytes"});
  for (const LayerSummary& l : layers)
    table.add({l.name, l.type, str(l.output_shape), with_commas(l.parameters), with_commas(l.multiply_adds),
               with_commas(l.output_bytes)});
  return str(table.str(), "parameters: ", with_commas(parameters), ", multiply-adds: ", with_commas(multiply_adds),
             ", weights: ", with_commas(weight_bytes), " bytes, outputs: ", with_commas(output_bytes), " bytes\n");
}

}  // namespace thimble::nn
