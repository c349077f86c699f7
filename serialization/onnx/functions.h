// Functions that a model brings along: ops of its own, made of others. Internal.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <unordered_map>
#include <utility>

#include <onnx/onnx_pb.h>

namespace thimble::onnx {

using AttributesByName = std::map<std::string, ::onnx::AttributeProto>;

/// Of one model, which must outlive it.
class Functions {
 public:
  explicit Functions(const ::onnx::ModelProto& model);

  /// What the node calls; null if it applies an op.
  const ::onnx::FunctionProto* find(const ::onnx::NodeProto& node) const;

  /// Values of attributes that a call of the function may leave out, by name.
  const AttributesByName& defaults_of(const ::onnx::FunctionProto& function) const { return defaults_.at(&function); }

  /// Visits the nodes that apply ops: those of the graph, of graphs inside its nodes, and of the functions that it
  /// calls. Throws FormatError for those that lie too deep.
  void for_each_op(const ::onnx::GraphProto& graph,
                   const std::function<void(const ::onnx::NodeProto& node)>& visit) const;

 private:
  std::map<std::pair<std::string, std::string>, const ::onnx::FunctionProto*> functions_;  // by domain and name
  std::map<const ::onnx::FunctionProto*, AttributesByName> defaults_;
};

/// Throws FormatError for graphs and functions that lie so deep within one another.
void check_depth(int depth);

/// The version of the standard that the function's nodes are of; `fallback` if it does not say. Throws FormatError for
/// one that is not covered.
int64_t opset_of(const ::onnx::FunctionProto& function, int64_t fallback);

/// The attributes that a call gives the nodes of a function's body.
class CallAttributes {
 public:
  /// Both must outlive it.
  CallAttributes(const ::onnx::NodeProto& call, const AttributesByName& defaults);

  /// A node of the body, with values for those of its attributes that refer to the call's.
  ::onnx::NodeProto given_to(const ::onnx::NodeProto& node) const;

 private:
  std::unordered_map<std::string, const ::onnx::AttributeProto*> values_;
};

}  // namespace thimble::onnx
