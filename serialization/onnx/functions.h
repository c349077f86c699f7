// Functions that a model brings along: ops of its own, made of others. Internal.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <utility>

#include <onnx/onnx_pb.h>

namespace thimble::onnx {

/// Of one model, which must outlive it.
class Functions {
 public:
  explicit Functions(const ::onnx::ModelProto& model);

  /// What the node calls; null if it applies an op.
  const ::onnx::FunctionProto* find(const ::onnx::NodeProto& node) const;

  /// Visits the nodes that apply ops: those of the graph, of graphs inside its nodes, and of the functions that it
  /// calls.
  void for_each_op(const ::onnx::GraphProto& graph,
                   const std::function<void(const ::onnx::NodeProto& node)>& visit) const;

 private:
  std::map<std::pair<std::string, std::string>, const ::onnx::FunctionProto*> functions_;  // by domain and name
};

/// The version of the standard that the function's nodes are of; `fallback` if it does not say. Throws FormatError for
/// one that is not covered.
int64_t opset_of(const ::onnx::FunctionProto& function, int64_t fallback);

/// A node of the function's body with the attributes that the call gives it, where it refers to some.
::onnx::NodeProto with_attributes_of_call(const ::onnx::NodeProto& node, const ::onnx::NodeProto& call,
                                          const ::onnx::FunctionProto& function);

}  // namespace thimble::onnx
