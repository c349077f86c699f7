// A node of an ONNX model, as those who import it ask for it. Internal.
#pragma once

#include <set>
#include <string>
#include <vector>

#include <onnx/onnx_pb.h>

#include <thimble/core/error.h>

namespace thimble::onnx {

/// "Relu" for one of the standard's ops, else with its domain: "com.microsoft.Gelu".
std::string qualified_op(const ::onnx::NodeProto& node);

/// Attributes that are read are counted: one that nobody has asked for would be ignored, and the answers be others.
class OnnxNode {
 public:
  /// `proto` must outlive it.
  OnnxNode(const ::onnx::NodeProto& proto, int64_t opset) : proto_(proto), opset_(opset) {}

  std::string op() const { return qualified_op(proto_); }
  int64_t opset() const { return opset_; }
  /// "Conv 'conv1'", for messages.
  std::string label() const;

  size_t num_inputs() const { return static_cast<size_t>(proto_.input_size()); }
  size_t num_outputs() const { return static_cast<size_t>(proto_.output_size()); }
  /// Empty for one that is left out.
  std::string input(size_t i) const { return i < num_inputs() ? proto_.input(static_cast<int>(i)) : std::string(); }
  std::string output(size_t i) const { return i < num_outputs() ? proto_.output(static_cast<int>(i)) : std::string(); }
  const std::string& name() const { return proto_.name(); }

  bool has(const std::string& key) const { return find(key) != nullptr; }
  // Throw FormatError for an attribute of another type.
  int64_t integer(const std::string& key, int64_t fallback) const;
  double number(const std::string& key, double fallback) const;
  std::string text(const std::string& key, const std::string& fallback) const;
  std::vector<int64_t> integers(const std::string& key, const std::vector<int64_t>& fallback = {}) const;
  /// Empty if it is missing.
  std::vector<float> numbers(const std::string& key) const;
  /// Throws FormatError if it is missing, too.
  const ::onnx::TensorProto& tensor(const std::string& key) const;
  const ::onnx::GraphProto& graph(const std::string& key) const;
  /// Empty if it is missing.
  std::vector<std::string> texts(const std::string& key) const;

  /// Hands attributes of these names on to a node that stands for a part of this one, which then asks for them.
  void copy_attributes(::onnx::NodeProto& part, const std::vector<std::string>& keys) const;

  /// Throws FormatError if the node has an attribute that was not asked for.
  void check_all_read() const;
  /// Throws FormatError that begins with label(), unless the condition holds.
  template <typename... Parts>
  void require(bool condition, const Parts&... parts) const {
    check<FormatError>(condition, label(), ": ", parts...);
  }

 private:
  const ::onnx::AttributeProto* find(const std::string& key, int type = 0) const;

  const ::onnx::NodeProto& proto_;
  int64_t opset_;
  mutable std::set<std::string> read_;
};

}  // namespace thimble::onnx
