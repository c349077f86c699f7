// Small ONNX models, for tests.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include <onnx/onnx_pb.h>

#include <thimble/serialization/onnx/importer.h>

namespace thimble::onnx {

/// ModelBuilder(17).input("x", {-1, 3}).node("Relu", {"x"}, {"y"}).output("y").import()
class ModelBuilder {
 public:
  using Attribute = ::onnx::AttributeProto;

  explicit ModelBuilder(int64_t opset = 17) {
    model_.set_ir_version(8);
    model_.add_opset_import()->set_version(opset);
    model_.mutable_graph()->set_name("test");
  }

  ::onnx::ModelProto& proto() { return model_; }

  /// A size below 0 is free.
  ModelBuilder& input(const std::string& name, const std::vector<int64_t>& shape,
                      int type = ::onnx::TensorProto::FLOAT) {
    declare(*model_.mutable_graph()->add_input(), name, type);
    auto* dims =
        model_.mutable_graph()->mutable_input()->rbegin()->mutable_type()->mutable_tensor_type()->mutable_shape();
    for (const int64_t size : shape) {
      auto* dim = dims->add_dim();
      if (size >= 0)
        dim->set_dim_value(size);
      else
        dim->set_dim_param("n");
    }
    return *this;
  }

  ModelBuilder& output(const std::string& name, int type = ::onnx::TensorProto::FLOAT) {
    declare(*model_.mutable_graph()->add_output(), name, type);
    return *this;
  }

  ModelBuilder& initializer(const std::string& name, const Shape& shape, const std::vector<float>& values) {
    return tensor(name, shape, ::onnx::TensorProto::FLOAT, values);
  }

  ModelBuilder& integers(const std::string& name, const std::vector<int64_t>& values) {
    return tensor(name, {static_cast<int64_t>(values.size())}, ::onnx::TensorProto::INT64, values);
  }

  template <typename T>
  ModelBuilder& tensor(const std::string& name, const Shape& shape, int type, const std::vector<T>& values) {
    ::onnx::TensorProto& tensor = *model_.mutable_graph()->add_initializer();
    tensor.set_name(name);
    tensor.set_data_type(type);
    for (const int64_t size : shape) tensor.add_dims(size);
    tensor.set_raw_data(values.data(), values.size() * sizeof(T));
    return *this;
  }

  ModelBuilder& node(const std::string& op, const std::vector<std::string>& inputs,
                     const std::vector<std::string>& outputs, const std::vector<Attribute>& attributes = {},
                     const std::string& domain = "") {
    ::onnx::NodeProto& node = *model_.mutable_graph()->add_node();
    node.set_op_type(op);
    node.set_domain(domain);
    for (const std::string& input : inputs) node.add_input(input);
    for (const std::string& output : outputs) node.add_output(output);
    for (const Attribute& attribute : attributes) *node.add_attribute() = attribute;
    return *this;
  }

  static Attribute integer(const std::string& name, int64_t value) {
    Attribute attribute = named(name, Attribute::INT);
    attribute.set_i(value);
    return attribute;
  }
  static Attribute number(const std::string& name, float value) {
    Attribute attribute = named(name, Attribute::FLOAT);
    attribute.set_f(value);
    return attribute;
  }
  static Attribute text(const std::string& name, const std::string& value) {
    Attribute attribute = named(name, Attribute::STRING);
    attribute.set_s(value);
    return attribute;
  }
  static Attribute list(const std::string& name, const std::vector<int64_t>& values) {
    Attribute attribute = named(name, Attribute::INTS);
    for (const int64_t value : values) attribute.add_ints(value);
    return attribute;
  }

  nn::Graph import(const std::filesystem::path& folder = ".") const { return Importer(model_, folder).run(); }

  void write(const std::filesystem::path& path) const {
    std::ofstream file(path, std::ios::binary);
    model_.SerializeToOstream(&file);
  }

 private:
  static Attribute named(const std::string& name, Attribute::AttributeType type) {
    Attribute attribute;
    attribute.set_name(name);
    attribute.set_type(type);
    return attribute;
  }

  static void declare(::onnx::ValueInfoProto& info, const std::string& name, int type) {
    info.set_name(name);
    info.mutable_type()->mutable_tensor_type()->set_elem_type(type);
  }

  ::onnx::ModelProto model_;
};

}  // namespace thimble::onnx
