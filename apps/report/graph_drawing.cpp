#include "apps/report/graph_drawing.h"

#include <unordered_map>

#include <nlohmann/json.hpp>

#include "apps/report/layered_layout.h"
#include "apps/report/weight_bits.h"
#include <thimble/nn/graph/node_type.h>
#include <thimble/quant/layers/dynamic_layers.h>
#include <thimble/quant/layers/quantized_layer.h>
#include <thimble/quant/layers/weight_only_linear.h>

namespace thimble::apps {

namespace {

const char* arithmetic_of(const nn::Graph& graph, const nn::Node* node, DType dtype) {
  if (node->kind == nn::Node::Kind::input) return "input";
  if (graph.is_layer(node, "Quantize") || graph.is_layer(node, "Dequantize")) return "edge";
  if (graph.layer_as<quant::DynamicProduct>(node)) return "dynamic";
  if (graph.layer_as<quant::WeightOnlyLinear>(node)) return "weight-only";
  if (graph.layer_as<quant::IntegerLayer>(node) || dtype == DType::uint8 || dtype == DType::int8) return "integer";
  return is_floating_point(dtype) ? "float" : "index";
}

std::string drawn_type(const nn::Graph& graph, const nn::Node* node) {
  return node->kind == nn::Node::Kind::input ? "input" : type_of(graph, node);
}

nlohmann::json json_of(const GraphLayout& layout, nlohmann::json nodes) {
  for (size_t i = 0; i < layout.nodes.size(); ++i) {
    nodes[i]["x"] = layout.nodes[i].x;
    nodes[i]["row"] = layout.nodes[i].row;
  }
  nlohmann::json edges = nlohmann::json::array();
  for (const LayoutEdge& edge : layout.edges) {
    nlohmann::json points = nlohmann::json::array();
    for (const LayoutPoint& point : edge.points) points.push_back({point.x, point.row});
    edges.push_back({{"from", edge.from}, {"to", edge.to}, {"points", std::move(points)}});
  }
  return {{"nodes", std::move(nodes)}, {"edges", std::move(edges)}, {"width", layout.width}, {"rows", layout.rows}};
}

}  // namespace

nlohmann::json graph_drawing(const nn::Graph& graph, const std::vector<ModelInput>& inputs) {
  const NoGrad guard;
  nn::Graph running = graph.clone();
  running.eval();
  const std::vector<Tensor> values = running.run_all(random_inputs(inputs, 1));
  const std::vector<nn::Node*> nodes = running.nodes();
  std::unordered_map<const nn::Node*, size_t> numbers;  // of those that are drawn
  std::vector<std::vector<size_t>> reads;
  nlohmann::json drawn = nlohmann::json::array();
  for (size_t i = 0; i < nodes.size(); ++i) {
    const nn::Node* node = nodes[i];
    if (node->kind == nn::Node::Kind::tensor) continue;
    numbers.emplace(node, drawn.size());
    std::vector<size_t>& read = reads.emplace_back();
    for (const nn::Node* input : node->inputs)
      if (const auto it = numbers.find(input); it != numbers.end()) read.push_back(it->second);
    drawn.push_back({{"name", node->name},
                     {"type", drawn_type(running, node)},
                     {"arithmetic", arithmetic_of(running, node, values[i].dtype())},
                     {"bits", weight_bits_of(running, node)},
                     {"shape", values[i].shape().to_vector()}});
  }
  return json_of(layered_layout(reads), std::move(drawn));
}

}  // namespace thimble::apps
