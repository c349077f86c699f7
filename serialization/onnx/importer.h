// From ONNX's nodes to a graph's. Internal.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <onnx/onnx_pb.h>

#include <thimble/nn/graph/graph.h>
#include <thimble/serialization/onnx/import.h>
#include <thimble/serialization/onnx/onnx_node.h>

namespace thimble::onnx {

/// What a name of the model stands for: an array that is known when it is imported, or a node.
struct Value {
  NDArray constant;          ///< undefined for a node
  nn::Node* node = nullptr;  ///< null for an array that no node reads yet
  int rank = -1;             ///< number of dimensions
  bool is_weight = false;    ///< an initializer, which is trained
  int64_t length = -1;       ///< of a list that is computed, where it is known
};

/// Elements that are computed when a model is read; more become nodes, unless as many were given.
inline constexpr double kMostFolded = 1 << 22;

/// Goes through the nodes in order; handlers (handlers.h) make what each stands for.
class Importer {
 public:
  Importer(const ::onnx::ModelProto& model, std::filesystem::path folder, const ImportOptions& options = {});

  nn::Graph run();

  // For handlers.

  bool has_input(const OnnxNode& node, size_t i) const { return !node.input(i).empty(); }
  /// Throws FormatError for an input that is missing, or of no value so far.
  const Value& input(const OnnxNode& node, size_t i) const;
  int rank(const OnnxNode& node, size_t i) const { return input(node, i).rank; }
  /// Of an input that must be known. `what` is its name in the standard.
  const NDArray& constant(const OnnxNode& node, size_t i, const char* what) const;
  std::vector<int64_t> constant_integers(const OnnxNode& node, size_t i, const char* what) const;
  double constant_number(const OnnxNode& node, size_t i, const char* what) const;

  /// Applies an op of Thimble's: now, if all is known, else as a node. The result has as many dimensions as the operand
  /// that has most, unless told; nobody knows how many, if that holds of an operand.
  Value apply(const OnnxNode& node, const std::string& op, Attributes attributes, const std::vector<Value>& operands,
              int rank = -1);
  /// The same, with an attribute that may be known when it runs only (see nn/graph/attribute_inputs.h).
  Value apply_with(const OnnxNode& node, const std::string& op, Attributes attributes,
                   const std::vector<Value>& operands,
                   const std::vector<std::pair<std::string, Value>>& attribute_values, int rank);
  /// Calls a new layer.
  Value call(const OnnxNode& node, const std::string& type, const Attributes& attributes, const NamedArrays& tensors,
             const std::vector<Value>& operands, int rank);
  void set(const OnnxNode& node, size_t output, Value value);

  static Value known(NDArray array) { return {array, nullptr, array.ndim(), false}; }
  static Value number(double value) { return known(NDArray::full({}, value)); }
  static Value index(int64_t value) { return known(NDArray::from_vector<int64_t>({value}, {})); }
  static Value integers(const std::vector<int64_t>& values) { return known(NDArray::from_vector(values)); }

 private:
  void check_ops_are_covered() const;
  void read_initializers();
  void add_inputs();
  void add_input(const ::onnx::ValueInfoProto& info);
  std::optional<Shape> example_shape(const ::onnx::ValueInfoProto& info, std::vector<int64_t> sizes) const;
  void set_outputs();
  nn::Node* output_node(const ::onnx::ValueInfoProto& info, Value& value);
  nn::Node* node_of(Value& value, const std::string& wanted_name);
  std::vector<nn::Node*> nodes_of(const OnnxNode& node, std::span<const Value> operands);
  /// A name for a node of the graph.
  std::string name_for(const OnnxNode& node, const std::string& what) const;

  const ::onnx::ModelProto& model_;
  std::filesystem::path folder_;
  ImportOptions options_;
  int64_t opset_;
  nn::Graph graph_;
  std::unordered_map<std::string, Value> values_;
  std::unordered_map<const void*, std::string> constants_;  // names of arrays, by their memory
};

}  // namespace thimble::onnx
