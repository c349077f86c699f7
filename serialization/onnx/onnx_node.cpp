#include <charconv>
#include <iterator>

#include <thimble/core/text.h>
#include <thimble/serialization/onnx/onnx_node.h>

namespace thimble::onnx {

using ::onnx::AttributeProto;

namespace {

// Files have the floats nearest to what people write in decimal, 1e-5 or 0.1: the number that they mean.
double decimal_of(float value) {
  char text[32];
  const auto written = std::to_chars(std::begin(text), std::end(text), value);
  double number = value;
  std::from_chars(text, written.ptr, number);
  return number;
}

}  // namespace

std::string qualified_op(const ::onnx::NodeProto& node) {
  const bool is_standard = node.domain().empty() || node.domain() == "ai.onnx";
  return is_standard ? node.op_type() : node.domain() + '.' + node.op_type();
}

std::string OnnxNode::label() const {
  const std::string& wanted = name().empty() ? output(0) : name();
  return detail::printable(op(), 80) + ' ' + detail::quote(wanted);
}

const AttributeProto* OnnxNode::find(const std::string& key, int type) const {
  read_.insert(key);
  for (const AttributeProto& attribute : proto_.attribute()) {
    if (attribute.name() != key) continue;
    require(type == 0 || attribute.type() == type, "its attribute '", key, "' is of another type than the op's");
    return &attribute;
  }
  return nullptr;
}

int64_t OnnxNode::integer(const std::string& key, int64_t fallback) const {
  const AttributeProto* found = find(key, AttributeProto::INT);
  return found ? found->i() : fallback;
}

double OnnxNode::number(const std::string& key, double fallback) const {
  const AttributeProto* found = find(key, AttributeProto::FLOAT);
  return found ? decimal_of(found->f()) : fallback;
}

std::string OnnxNode::text(const std::string& key, const std::string& fallback) const {
  const AttributeProto* found = find(key, AttributeProto::STRING);
  return found ? found->s() : fallback;
}

std::vector<int64_t> OnnxNode::integers(const std::string& key, const std::vector<int64_t>& fallback) const {
  const AttributeProto* found = find(key, AttributeProto::INTS);
  return found ? std::vector<int64_t>(found->ints().begin(), found->ints().end()) : fallback;
}

std::vector<std::string> OnnxNode::texts(const std::string& key) const {
  const AttributeProto* found = find(key, AttributeProto::STRINGS);
  return found ? std::vector<std::string>(found->strings().begin(), found->strings().end())
               : std::vector<std::string>();
}

const ::onnx::GraphProto& OnnxNode::graph(const std::string& key) const {
  const AttributeProto* found = find(key, AttributeProto::GRAPH);
  require(found, "its attribute '", key, "' is missing");
  return found->g();
}

std::vector<float> OnnxNode::numbers(const std::string& key) const {
  const AttributeProto* found = find(key, AttributeProto::FLOATS);
  return found ? std::vector<float>(found->floats().begin(), found->floats().end()) : std::vector<float>();
}

const ::onnx::TensorProto& OnnxNode::tensor(const std::string& key) const {
  const AttributeProto* found = find(key, AttributeProto::TENSOR);
  require(found, "its attribute '", key, "' is missing");
  return found->t();
}

void OnnxNode::copy_attributes(::onnx::NodeProto& part, const std::vector<std::string>& keys) const {
  for (const std::string& key : keys)
    if (const AttributeProto* found = find(key)) *part.add_attribute() = *found;
}

void OnnxNode::check_all_read() const {
  // Hints of old opsets, which say nothing about a graph that is evaluated.
  if (opset_ < 7) read_.insert({"consumed_inputs", "is_test"});
  for (const AttributeProto& attribute : proto_.attribute())
    require(read_.contains(attribute.name()), "its attribute ", detail::quote(attribute.name()), " is not covered");
}

}  // namespace thimble::onnx
