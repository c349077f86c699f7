// Names within names: bodies of functions, and graphs inside of nodes.
#include <thimble/core/text.h>
#include <thimble/serialization/onnx/importer.h>
#include <thimble/serialization/onnx/model_file.h>

namespace thimble::onnx {

// Its body becomes nodes of this graph. It sees its own names alone.
void Importer::call_function(const ::onnx::NodeProto& proto, const ::onnx::FunctionProto& function, int64_t opset) {
  constexpr int64_t kMostNodes = 1000000;  // functions that call functions grow without end
  const OnnxNode node(proto, opset);
  model_->expanded_nodes += function.node_size();
  node.require(model_->expanded_nodes <= kMostNodes, "the model's functions have more than ", kMostNodes, " nodes");
  node.require(proto.input_size() <= function.input_size() && proto.output_size() <= function.output_size(),
               "the function has ", function.input_size(), " inputs and ", function.output_size(),
               " outputs, the node ", proto.input_size(), " and ", proto.output_size());
  Importer body(*this, (node.name().empty() ? node.output(0) : node.name()) + '/', Into::outer_graph);
  for (size_t i = 0; i < node.num_inputs(); ++i)
    if (has_input(node, i)) body.values_[function.input(static_cast<int>(i))] = input(node, i);
  body.outer_ = nullptr;
  body.call_ = std::make_shared<const CallAttributes>(proto, model_->functions.defaults_of(function));
  body.import_nodes(function.node(), opset_of(function, opset));
  for (size_t i = 0; i < node.num_outputs(); ++i) {
    if (node.output(i).empty()) continue;
    const Value* value = body.find(function.output(static_cast<int>(i)));
    node.require(value, "the function does not compute its output ", i);
    set(node, i, *value);
  }
}

Subgraph Importer::import_subgraph(const OnnxNode& node, const std::string& key) {
  const ::onnx::GraphProto& proto = node.graph(key);
  node.require(proto.input_size() == 0, "the graph '", key, "' has inputs");
  Importer inner(*this, "", Into::own_graph);
  inner.read_initializers(proto);
  inner.import_nodes(proto.node(), node.opset());
  inner.set_outputs(proto);
  if (model_->options.integer_layers)
    use_integer_layers(inner.graph_, model_->quantized, model_->ranks, model_->options.report);
  recognize_patterns(inner.graph_, model_->ranks);
  Subgraph result{std::move(inner.graph_), std::move(inner.captured_), {}};
  for (const ::onnx::ValueInfoProto& info : proto.output()) result.ranks.push_back(inner.values_.at(info.name()).rank);
  return result;
}

void Importer::inline_subgraph(const OnnxNode& node, const std::string& key) {
  const ::onnx::GraphProto& proto = node.graph(key);
  node.require(proto.input_size() == 0, "the graph '", key, "' has inputs");
  node.require(static_cast<size_t>(proto.output_size()) == node.num_outputs(), "the graph '", key, "' has ",
               proto.output_size(), " outputs, the node ", node.num_outputs());
  Importer inner(*this, node.output(0) + '/', Into::outer_graph);
  inner.read_initializers(proto);
  inner.import_nodes(proto.node(), node.opset());
  for (size_t i = 0; i < node.num_outputs(); ++i) {
    const Value* value = inner.find(proto.output(static_cast<int>(i)).name());
    node.require(value, "no node computes the output ", i, " of the graph '", key, "'");
    set(node, i, *value);
  }
}

}  // namespace thimble::onnx
