// From a graph's nodes to ONNX's. Internal.
#pragma once

#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <onnx/onnx_pb.h>

#include <thimble/nn/graph/graph.h>
#include <thimble/quant/layers/quantized_layer.h>
#include <thimble/serialization/onnx/export.h>
#include <thimble/serialization/onnx/export_types.h>

namespace thimble::onnx {

/// Thrown for a node that ONNX has no form of, with the reason.
struct NotExportable : ValueError {
  using ValueError::ValueError;
};

/// Goes through the nodes in order; handlers (export_handlers.h) write what ONNX has for each.
class Exporter {
 public:
  /// Copies the graph. Throws ValueError for an opset out of range.
  Exporter(const nn::Graph& graph, const ExportOptions& options);

  /// Once.
  ::onnx::ModelProto run();
  const ExportReport& report() const { return report_; }

  // For handlers.

  const nn::Graph& graph() const { return graph_; }
  int64_t opset() const { return report_.opset; }
  bool reduce_range() const { return options_.reduce_range; }
  template <typename... Parts>
  static void require(bool condition, const Parts&... parts) {
    check<NotExportable>(condition, parts...);
  }

  const ValueType& type_of(const nn::Node& node) const { return types_.at(&node); }
  const ValueType& input_type(const nn::Node& node, size_t i) const { return types_.at(node.inputs.at(i)); }
  /// The axis counted from the front; of one dimension more, where a new one is meant.
  int64_t axis_of(const nn::Node& node, int64_t axis, int more = 0) const;

  /// What the node's input is called in the model.
  std::string input(const nn::Node& node, size_t i);
  /// The same as a condition: of type bool.
  std::string input_as_bool(const nn::Node& node, size_t i);
  /// Inputs that are no attributes (see nn/graph/attribute_inputs.h).
  size_t num_operands(const nn::Node& node) const;
  std::vector<std::string> operands(const nn::Node& node);
  /// An attribute that ONNX has as an input, a list of integers or one of them alone, which may be computed.
  std::string list_attribute(const nn::Node& node, const std::string& key);
  std::string integer_attribute(const nn::Node& node, const std::string& key);

  /// Writes a node of ONNX's on the way to the value of `node`; returns the name of what it gives. An empty name among
  /// the inputs is one that is left out.
  std::string step(const nn::Node& node, const std::string& op, const std::vector<std::string>& inputs,
                   const Attributes& attributes = {});
  /// The same with several outputs.
  std::vector<std::string> steps(const nn::Node& node, const std::string& op, size_t outputs,
                                 const std::vector<std::string>& inputs, const Attributes& attributes = {});
  /// Writes the last one, which gives the value itself; returns its name.
  const std::string& result(const nn::Node& node, const std::string& op, const std::vector<std::string>& inputs,
                            const Attributes& attributes = {});
  /// The value is that of an input, or a step's.
  void result_is(const nn::Node& node, const std::string& value);
  /// The value is a condition, which becomes uint8 if somebody reads it as numbers.
  void result_is_bool(const nn::Node& node, const std::string& value);
  /// The value is `x` between bounds, which may be infinite, and stands behind this name.
  void note_clamp(const std::string& value, const std::string& x, double low, double high);

  /// Arrays of the model. Small ones that are equal become one.
  std::string constant(const std::string& wanted_name, const NDArray& array);
  std::string number(double value, DType dtype = DType::float32);
  std::string integers(const std::vector<int64_t>& values);
  /// Of a layer that several nodes may call, or of a node's own: "conv1.weight".
  std::string tensor(const nn::Node& node, const std::string& part, const NDArray& array);
  /// The same with integers of 2 or 4 bits, packed.
  std::string packed(const nn::Node& node, const std::string& part, const NDArray& integers, int bits);

  /// What integers (uint8) of the node's value stand for. Nodes whose handler says nothing have their first input's.
  void set_qparams(const nn::Node& node, const quant::TensorQParams& p) { qparams_[&node] = p; }
  const quant::TensorQParams& qparams_of(const nn::Node& node) const;
  /// A value that is to be quantized, without clamps that these integers imply.
  std::string without_clamps(const std::string& value, const quant::TensorQParams& p) const;

  /// Reported once, however many nodes need it.
  void needs_session_option(const ExportReport::SessionOption& option);

 private:
  struct Clamp {
    std::string x;
    double low, high;
  };
  struct Refused {
    std::string type, reason;
    std::vector<std::string> nodes;
  };

  void choose_opset();
  void name_values();
  void describe();
  void write(const nn::Node& node);
  void refuse(const nn::Node& node, const std::string& reason);
  void check_all_written() const;
  void declare_inputs();
  void declare_outputs();
  void remove_unused();
  std::string value_of(const nn::Node& node);
  std::string unique_name(const std::string& wanted);
  std::string computed_attribute(const nn::Node& node, const std::string& key);
  void find_shared_weights();
  std::string array_of(const nn::Node& node, const std::string& part, ::onnx::TensorProto array);
  void add_node(const std::string& op, const std::vector<std::string>& inputs, const std::vector<std::string>& outputs,
                const Attributes& attributes);
  ::onnx::GraphProto& proto() { return *model_.mutable_graph(); }

  nn::Graph graph_;
  ExportOptions options_;
  ExportReport report_;
  ::onnx::ModelProto model_;
  ValueTypes types_;
  std::set<std::string> taken_;                                  // names of values
  std::unordered_map<const nn::Node*, std::string> names_;       // of the nodes' values
  std::unordered_map<const nn::Node*, std::string> conditions_;  // those that are of type bool
  std::set<const nn::Node*> numbers_;                            // of these, those that somebody reads as numbers
  std::unordered_map<const nn::Node*, quant::TensorQParams> qparams_;
  std::map<std::string, Clamp> clamps_;                         // by what they give
  std::map<std::string, std::string> tensors_;                  // names of small arrays, by contents
  std::unordered_map<std::string, std::string> weight_owners_;  // of layers, where another has the weight, too
  std::map<std::string, std::vector<int>> arrays_;  // initializers, by the layer's or node's name and the part's
  std::set<std::string> written_attributes_;        // of the node at hand, those that are computed
  std::vector<Refused> refused_;
};

}  // namespace thimble::onnx
