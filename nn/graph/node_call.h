// What a node computes, on tensors: the one place that says so, for whoever runs a graph. Internal.
#pragma once

#include <memory>
#include <span>
#include <string>

#include <thimble/nn/graph/graph.h>

namespace thimble::nn {

/// A node's layer, called, or its op, applied. Keeps the layer alive, and knows nothing else of the graph.
class NodeCall {
 public:
  /// Of a node that calls a layer or applies an op. Throws ValueError or FormatError if there is none of that name.
  NodeCall(const Graph& graph, const Node& node);

  /// Records, and tells listeners, like any call. An error's message begins with the node's name.
  Tensor operator()(std::span<const Tensor> inputs) const;

  const std::string& name() const { return name_; }
  /// Null for an op.
  const std::shared_ptr<Module>& layer() const { return layer_; }
  /// Another application of the op.
  std::unique_ptr<Op> make_op() const { return (*op_)(attributes_); }

 private:
  std::string name_;
  std::shared_ptr<Module> layer_;
  const OpFactory* op_ = nullptr;
  Attributes attributes_;
};

}  // namespace thimble::nn
