// What a node computes, on tensors: the one place that says so, for whoever runs a graph. Internal.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

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
  /// Another application of the op, of which all attributes are known.
  std::unique_ptr<Op> make_op() const { return (*op_)(attributes_); }
  const std::string& op() const { return op_name_; }
  const Attributes& attributes() const { return attributes_; }

  /// How many of the last inputs are attributes; see kAttributeInputs.
  size_t num_attribute_inputs() const { return from_inputs_.size(); }
  /// The call without these inputs, with the attributes that their values, in their order, stand for: an integer or a
  /// float for a 0-d array, a list for a 1-d one. Throws ShapeError or DTypeError for others.
  NodeCall with_attributes(std::span<const NDArray> values) const;

 private:
  std::string name_, op_name_;
  std::shared_ptr<Module> layer_;
  const OpFactory* op_ = nullptr;
  Attributes attributes_;
  std::vector<std::string> from_inputs_;
};

}  // namespace thimble::nn
