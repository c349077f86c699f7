// A node as several of the standard. Internal.
#pragma once

#include <string>
#include <vector>

#include <thimble/serialization/onnx/importer.h>

namespace thimble::onnx {

/// Imports nodes in place of one, each with what imports its op:
///
///   Expansion parts(importer, node);
///   const std::string sum = parts.add("Add", {node.input(0), node.input(1)});
///   parts.add_last("Relu", {sum});                       // gives the node's output
class Expansion {
 public:
  Expansion(Importer& importer, const OnnxNode& node) : importer_(importer), node_(node) {}

  /// Attributes of the node's that the part has, too.
  Expansion& with(const std::vector<std::string>& keys);
  Expansion& with(const std::string& key, int64_t value);
  /// The name of the part's output. Takes the attributes that were given since the last part.
  std::string add(const std::string& op, const std::vector<std::string>& inputs, int64_t opset = 0);
  /// The part that gives an output of the node's.
  void add_last(const std::string& op, const std::vector<std::string>& inputs, size_t output = 0);
  /// A name for a value of this kind.
  std::string add(const Value& value, const std::string& what);

 private:
  void import(const std::string& op, const std::vector<std::string>& inputs, const std::string& output, int64_t opset);
  std::string name_of_part(const std::string& what);

  Importer& importer_;
  const OnnxNode& node_;
  ::onnx::NodeProto next_;  // what is to have the attributes
  int count_ = 0;
};

}  // namespace thimble::onnx
