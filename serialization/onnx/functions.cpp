#include <set>

#include <google/protobuf/unknown_field_set.h>

#include <thimble/core/error.h>
#include <thimble/core/text.h>
#include <thimble/serialization/onnx/functions.h>
#include <thimble/serialization/onnx/model_file.h>

namespace thimble::onnx {

namespace {

using ::onnx::AttributeProto;
using ::onnx::FunctionProto;
using ::onnx::NodeProto;

std::pair<std::string, std::string> key_of(const std::string& domain, const std::string& name) {
  return {domain == "ai.onnx" ? std::string() : domain, name};
}

// Newer files have values for attributes that a call may leave out (field attribute_proto); our messages are older.
bool find_default(const FunctionProto& function, const std::string& name, AttributeProto& found) {
  constexpr int kAttributeProto = 11;
  const auto& unknown = function.GetReflection()->GetUnknownFields(function);
  for (int i = 0; i < unknown.field_count(); ++i) {
    const auto& field = unknown.field(i);
    const bool is_message =
        field.number() == kAttributeProto && field.type() == google::protobuf::UnknownField::TYPE_LENGTH_DELIMITED;
    if (is_message && found.ParseFromString(field.length_delimited()) && found.name() == name) return true;
  }
  return false;
}

bool find_attribute(const NodeProto& call, const FunctionProto& function, const std::string& name,
                    AttributeProto& found) {
  for (const AttributeProto& attribute : call.attribute()) {
    if (attribute.name() != name) continue;
    found = attribute;
    return true;
  }
  return find_default(function, name, found);
}

// Each function once, however often it is called.
class Visitor {
 public:
  Visitor(const Functions& functions, const std::function<void(const NodeProto&)>& visit)
      : functions_(functions), visit_(visit) {}

  template <typename Nodes>
  void visit(const Nodes& nodes) {
    for (const NodeProto& node : nodes) {
      for (const AttributeProto& attribute : node.attribute())
        if (attribute.has_g()) visit(attribute.g().node());
      const FunctionProto* function = functions_.find(node);
      if (!function)
        visit_(node);
      else if (seen_.insert(function).second)
        visit(function->node());
    }
  }

 private:
  const Functions& functions_;
  const std::function<void(const NodeProto&)>& visit_;
  std::set<const FunctionProto*> seen_;
};

}  // namespace

Functions::Functions(const ::onnx::ModelProto& model) {
  for (const FunctionProto& function : model.functions()) {
    const bool is_new = functions_.emplace(key_of(function.domain(), function.name()), &function).second;
    check<FormatError>(is_new, "there are two functions named ", detail::quote(function.name()));
  }
}

const FunctionProto* Functions::find(const NodeProto& node) const {
  const auto it = functions_.find(key_of(node.domain(), node.op_type()));
  return it == functions_.end() ? nullptr : it->second;
}

void Functions::for_each_op(const ::onnx::GraphProto& graph, const std::function<void(const NodeProto&)>& visit) const {
  Visitor(*this, visit).visit(graph.node());
}

int64_t opset_of(const FunctionProto& function, int64_t fallback) {
  int64_t version = fallback;
  for (const auto& opset : function.opset_import())
    if (opset.domain().empty() || opset.domain() == "ai.onnx") version = opset.version();
  return checked_opset(version);
}

NodeProto with_attributes_of_call(const NodeProto& node, const NodeProto& call, const FunctionProto& function) {
  NodeProto made = node;
  made.clear_attribute();
  for (const AttributeProto& attribute : node.attribute()) {
    AttributeProto value = attribute;
    if (!attribute.ref_attr_name().empty()) {
      // One that nobody gives is left out of the node, too.
      if (!find_attribute(call, function, attribute.ref_attr_name(), value)) continue;
      value.set_name(attribute.name());
    }
    *made.add_attribute() = std::move(value);
  }
  return made;
}

}  // namespace thimble::onnx
