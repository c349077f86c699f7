#include <thimble/serialization/onnx/expansion.h>

namespace thimble::onnx {

Expansion& Expansion::with(const std::vector<std::string>& keys) {
  node_.copy_attributes(next_, keys);
  return *this;
}

Expansion& Expansion::with(const std::string& key, int64_t value) {
  ::onnx::AttributeProto& attribute = *next_.add_attribute();
  attribute.set_name(key);
  attribute.set_type(::onnx::AttributeProto::INT);
  attribute.set_i(value);
  return *this;
}

std::string Expansion::add(const std::string& op, const std::vector<std::string>& inputs, int64_t opset) {
  const std::string output = name_of_part(op);
  import(op, inputs, output, opset);
  return output;
}

void Expansion::add_last(const std::string& op, const std::vector<std::string>& inputs, size_t output) {
  import(op, inputs, node_.output(output), 0);
}

std::string Expansion::add(const Value& value, const std::string& what) {
  const std::string name = name_of_part(what);
  importer_.set_named(name, value);
  return name;
}

// No file's own name: they would have to be made for it.
std::string Expansion::name_of_part(const std::string& what) {
  return node_.output(0) + '/' + what + (count_++ == 0 ? "" : '_' + std::to_string(count_));
}

void Expansion::import(const std::string& op, const std::vector<std::string>& inputs, const std::string& output,
                       int64_t opset) {
  ::onnx::NodeProto part = std::exchange(next_, {});
  part.set_op_type(op);
  for (const std::string& input : inputs) part.add_input(input);
  part.add_output(output);
  importer_.import_node(part, opset == 0 ? node_.opset() : opset);
}

}  // namespace thimble::onnx
