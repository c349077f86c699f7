// From ONNX's nodes to a graph's. Internal.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include <onnx/onnx_pb.h>

#include <thimble/nn/graph/graph.h>
#include <thimble/serialization/onnx/data_files.h>
#include <thimble/serialization/onnx/functions.h>
#include <thimble/serialization/onnx/import.h>
#include <thimble/serialization/onnx/import_budget.h>
#include <thimble/serialization/onnx/integer_layers.h>
#include <thimble/serialization/onnx/onnx_node.h>
#include <thimble/serialization/onnx/patterns.h>

namespace thimble::onnx {

/// A name as nodes have it: names go into files and onto terminals.
std::string plain(const std::string& name);

/// What a name of the model stands for: an array that is known when it is imported, or a node.
struct Value {
  NDArray constant;          ///< undefined for a node
  nn::Node* node = nullptr;  ///< null for an array that no node reads yet
  int rank = -1;             ///< number of dimensions
  bool is_weight = false;    ///< an initializer, which is trained
  int64_t length = -1;       ///< of a list that is computed, where it is known
};

/// A graph inside a node. Its inputs are values of the graph around it.
struct Subgraph {
  nn::Graph graph;
  std::vector<Value> captured;  ///< for each of its inputs; they are nodes of the graph around it
  std::vector<int> ranks;       ///< of its outputs
};

/// Goes through the nodes in order; handlers (handlers.h) make what each stands for. Names that a graph inside a node
/// does not define are those of the graph around it.
class Importer {
 public:
  /// `slack` is the budget of a model of no size (see import_budget.h).
  Importer(const ::onnx::ModelProto& model, DataFiles files, const ImportOptions& options = {},
           double slack = ImportBudget::kSlack);

  nn::Graph run();

  // For handlers.

  bool has_input(const OnnxNode& node, size_t i) const { return !node.input(i).empty(); }
  /// Throws FormatError for an input that is missing, or of no value so far.
  const Value& input(const OnnxNode& node, size_t i);
  int rank(const OnnxNode& node, size_t i) { return input(node, i).rank; }
  /// Of an input that must be known. `what` is its name in the standard.
  const NDArray& constant(const OnnxNode& node, size_t i, const char* what);
  std::vector<int64_t> constant_integers(const OnnxNode& node, size_t i, const char* what);
  double constant_number(const OnnxNode& node, size_t i, const char* what);

  /// Of an initializer or an attribute.
  NDArray array_of(const ::onnx::TensorProto& tensor);

  /// Applies an op of Thimble's: now, if all is known, else as a node. The result has as many dimensions as the operand
  /// that has most, unless told; nobody knows how many, if that holds of an operand.
  Value apply(const OnnxNode& node, const std::string& op, Attributes attributes, const std::vector<Value>& operands,
              int rank = -1);
  /// The same, with an attribute that may be known when it runs only (see nn/graph/attribute_inputs.h).
  Value apply_with(const OnnxNode& node, const std::string& op, Attributes attributes,
                   const std::vector<Value>& operands,
                   const std::vector<std::pair<std::string, Value>>& attribute_values, int rank);
  /// A known matrix transposed, contiguous: one array for all nodes that read the same.
  NDArray transposed(const NDArray& matrix);
  /// Calls a new layer.
  Value call(const OnnxNode& node, const std::string& type, const Attributes& attributes, const NamedArrays& tensors,
             const std::vector<Value>& operands, int rank);
  void set(const OnnxNode& node, size_t output, Value value);
  /// Calls a layer that is made already.
  Value call(const OnnxNode& node, std::shared_ptr<nn::Module> layer, const std::vector<Value>& operands, int rank);

  /// The graph that is the node's attribute, which has no inputs of its own, as a graph of its own.
  Subgraph import_subgraph(const OnnxNode& node, const std::string& key);
  /// The same where it is known that it runs: its nodes become nodes of this graph, and its outputs the node's.
  void inline_subgraph(const OnnxNode& node, const std::string& key);

  // For those of quantized models.

  /// Imports a node that a node of the model partly stands for, too.
  void import_node(const ::onnx::NodeProto& proto, int64_t opset);
  /// What a name stands for that set_named() or a node has given.
  const Value& named(const std::string& name) const { return values_.at(name); }
  /// Takes bytes that are made beyond what the file holds. Throws FormatError if they are too many.
  void hold(double bytes) { model_->budget.hold(bytes); }
  /// Gives a name to a value, which must be new.
  void set_named(const std::string& name, Value value);
  /// TensorProto::DataType of an initializer, an input or what note_type() was told of; 0 if it is not known.
  int32_t declared_type(const std::string& name) const;
  void note_type(const std::string& name, int32_t type) { types_[name] = type; }
  /// Scales and zero points are no parameters to train. Call it before a node reads them.
  void keep_untrained(const OnnxNode& node, size_t i);
  /// What a known array was dequantized from: layers that have it for weights may take that instead.
  void note_dequantized(const NDArray& array, DequantizedConstant from);
  /// What the graph's nodes do not tell of a quantized model.
  QuantizedModel& quantized() { return model_->quantized; }
  /// The same value as a node, even if it is known.
  Value as_node(const OnnxNode& node, Value value);

  static Value known(NDArray array) { return {array, nullptr, array.ndim(), false}; }
  static Value number(double value) { return known(NDArray::full({}, value)); }
  static Value index(int64_t value) { return known(NDArray::from_vector<int64_t>({value}, {})); }
  static Value integers(const std::vector<int64_t>& values) { return known(NDArray::from_vector(values)); }

 private:
  using Nodes = google::protobuf::RepeatedPtrField<::onnx::NodeProto>;
  /// What the scopes of one model have in common.
  struct Model {
    Model(const ::onnx::ModelProto& model, DataFiles model_files, const ImportOptions& import_options, double slack);

    const ::onnx::ModelProto& proto;
    DataFiles files;
    ImportOptions options;
    ImportBudget budget;
    Functions functions;
    Ranks ranks;
    QuantizedModel quantized;
    /// By the memory of arrays, which are kept so that it is not others'.
    std::unordered_map<const void*, std::pair<NDArray, std::shared_ptr<const DequantizedConstant>>> dequantized;
    /// By memory and sizes: a contiguous matrix, kept likewise, and its transposed form.
    std::map<std::tuple<const void*, int64_t, int64_t>, std::pair<NDArray, NDArray>> transposed;
    int64_t expanded_nodes = 0;  ///< of functions
  };
  enum class Into { own_graph, outer_graph };

  /// Of names inside of those of `outer`.
  Importer(Importer& outer, const std::string& prefix, Into into);

  void check_ops_are_covered() const;
  void note_types(const ::onnx::GraphProto& proto);
  std::shared_ptr<const DequantizedConstant> dequantized_from(const OnnxNode& node, size_t i);
  void read_initializers(const ::onnx::GraphProto& proto);
  void add_inputs(const ::onnx::GraphProto& proto);
  void add_input(const ::onnx::ValueInfoProto& info);
  void make_default(const std::string& name);
  std::optional<Shape> example_shape(const ::onnx::ValueInfoProto& info, std::vector<int64_t> sizes) const;
  void import_nodes(const Nodes& nodes, int64_t opset);
  void call_function(const ::onnx::NodeProto& proto, const ::onnx::FunctionProto& function, int64_t opset);
  void set_outputs(const ::onnx::GraphProto& proto);
  Value* find(const std::string& name);
  bool is_defined(const std::string& name) const;
  nn::Node* output_node(const ::onnx::ValueInfoProto& info, Value& value);
  nn::Node* node_of(Value& value, const std::string& wanted_name);
  std::vector<nn::Node*> nodes_of(const OnnxNode& node, std::span<const Value> operands);
  Value added(nn::Node* node, int rank);
  /// A name for a node of the graph.
  std::string name_for(const OnnxNode& node, const std::string& what) const;

  std::shared_ptr<Model> model_;
  Importer* outer_ = nullptr;                   // whose names this one sees
  std::shared_ptr<const CallAttributes> call_;  // where this is the body of a function
  std::string prefix_;                          // of nodes' names
  int depth_ = 0;
  nn::Graph own_graph_;
  nn::Graph& graph_;
  std::vector<Value> captured_;  // the outer graph's, for the inputs of its own
  std::unordered_map<std::string, Value> values_;
  std::unordered_map<const void*, std::string> constants_;  // names of arrays, by their memory
  std::unordered_map<std::string, int32_t> types_;
};

}  // namespace thimble::onnx
