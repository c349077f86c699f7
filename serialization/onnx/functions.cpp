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
AttributesByName defaults_in(const FunctionProto& function) {
  constexpr int kAttributeProto = 11;
  AttributesByName defaults;
  const auto& unknown = function.GetReflection()->GetUnknownFields(function);
  for (int i = 0; i < unknown.field_count(); ++i) {
    const auto& field = unknown.field(i);
    AttributeProto attribute;
    const bool is_message =
        field.number() == kAttributeProto && field.type() == google::protobuf::UnknownField::TYPE_LENGTH_DELIMITED;
    if (!is_message || !attribute.ParseFromString(field.length_delimited())) continue;
    const std::string name = attribute.name();
    defaults.emplace(name, std::move(attribute));
  }
  return defaults;
}

// Each function once, however often it is called.
class Visitor {
 public:
  Visitor(const Functions& functions, const std::function<void(const NodeProto&)>& visit)
      : functions_(functions), visit_(visit) {}

  template <typename Nodes>
  void visit(const Nodes& nodes, int depth = 0) {
    check_depth(depth);
    for (const NodeProto& node : nodes) {
      for (const AttributeProto& attribute : node.attribute())
        if (attribute.has_g()) visit(attribute.g().node(), depth + 1);
      const FunctionProto* function = functions_.find(node);
      if (!function)
        visit_(node);
      else if (seen_.insert(function).second)
        visit(function->node(), depth + 1);
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
    defaults_.emplace(&function, defaults_in(function));
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

void check_depth(int depth) {
  constexpr int kDeepest = 32;
  check<FormatError>(depth <= kDeepest, "graphs and functions lie within one another more than ", kDeepest, " deep");
}

CallAttributes::CallAttributes(const NodeProto& call, const AttributesByName& defaults) {
  for (const AttributeProto& attribute : call.attribute()) values_.emplace(attribute.name(), &attribute);
  for (const auto& [name, attribute] : defaults) values_.emplace(name, &attribute);
}

// An attribute that nobody gives is left out of the node, too.
NodeProto CallAttributes::given_to(const NodeProto& node) const {
  NodeProto made = node;
  made.clear_attribute();
  for (const AttributeProto& attribute : node.attribute()) {
    const auto given = values_.find(attribute.ref_attr_name());
    if (attribute.ref_attr_name().empty()) {
      *made.add_attribute() = attribute;
    } else if (given != values_.end()) {
      AttributeProto& value = *made.add_attribute() = *given->second;
      value.set_name(attribute.name());
    }
  }
  return made;
}

}  // namespace thimble::onnx
