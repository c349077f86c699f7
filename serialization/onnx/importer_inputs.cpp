// What a model's graph takes, holds and gives.
#include <algorithm>
#include <optional>
#include <set>

#include <thimble/core/text.h>
#include <thimble/nn/graph/sample.h>
#include <thimble/serialization/onnx/importer.h>
#include <thimble/serialization/onnx/tensor_array.h>

namespace thimble::onnx {

namespace {

constexpr int64_t kFree = -1, kFirstIrOfDefaults = 4;

// Of an input, as it is declared.
std::vector<int64_t> sizes_of(const ::onnx::ValueInfoProto& info) {
  std::vector<int64_t> sizes;
  for (const auto& dim : info.type().tensor_type().shape().dim())
    sizes.push_back(dim.dim_value() > 0 ? dim.dim_value() : kFree);
  return sizes;
}

}  // namespace

// Of what arrays do not tell: integers of 4 bits lie in bytes.
void Importer::note_types(const ::onnx::GraphProto& proto) {
  for (const ::onnx::ValueInfoProto& info : proto.input())
    note_type(info.name(), info.type().tensor_type().elem_type());
  for (const ::onnx::TensorProto& tensor : proto.initializer()) note_type(tensor.name(), tensor.data_type());
  for (const ::onnx::NodeProto& node : proto.node())
    for (const ::onnx::AttributeProto& attribute : node.attribute())
      if (node.op_type() == "Constant" && attribute.name() == "value" && node.output_size() > 0)
        note_type(node.output(0), attribute.t().data_type());
}

int32_t Importer::declared_type(const std::string& name) const {
  if (const auto it = types_.find(name); it != types_.end()) return it->second;
  return outer_ ? outer_->declared_type(name) : 0;
}

NDArray Importer::array_of(const ::onnx::TensorProto& tensor) {
  if (tensor.data_location() == ::onnx::TensorProto::EXTERNAL)
    model_->budget.add_external(tensor, *external_file(tensor, model_->files));
  NDArray array = onnx::array_of(tensor, model_->files);
  hold(static_cast<double>(array.nbytes()));
  return array;
}

void Importer::read_initializers(const ::onnx::GraphProto& proto) {
  check<FormatError>(proto.sparse_initializer_size() == 0, "sparse initializers are not covered");
  note_types(proto);
  for (const ::onnx::TensorProto& tensor : proto.initializer()) {
    NDArray array = array_of(tensor);
    const int rank = array.ndim();
    if (array.numel() > 0) constants_.emplace(array.address(), tensor.name());
    const bool is_new = values_.emplace(tensor.name(), Value{std::move(array), nullptr, rank, true}).second;
    check<FormatError>(is_new, "there are two initializers named ", detail::quote(tensor.name()));
  }
}

// In models of before IR 4 initializers are among the inputs. Since then one that is among them is a default, which
// whoever runs the model may override.
void Importer::add_inputs(const ::onnx::GraphProto& proto) {
  std::set<std::string> names;
  for (const ::onnx::ValueInfoProto& info : proto.input()) {
    check<FormatError>(names.insert(info.name()).second, "there are two inputs named ", detail::quote(info.name()));
    if (!values_.contains(info.name()))
      add_input(info);
    else if (model_->proto.ir_version() >= kFirstIrOfDefaults)
      make_default(info.name());
  }
  const auto check_name = [&](const std::string& name) {
    check<ValueError>(names.contains(name), "there is no input ", detail::quote(name));
  };
  for (const auto& [name, shape] : model_->options.shapes) check_name(name);
  for (const auto& [name, value] : model_->options.values) check_name(name);
}

void Importer::make_default(const std::string& name) {
  Value& value = values_.at(name);
  constants_.erase(value.constant.address());
  nn::Node* node = graph_.add_input(plain(name), Tensor(value.constant));
  model_->ranks[node] = value.rank;
  value = {{}, node, value.rank, false};
}

void Importer::add_input(const ::onnx::ValueInfoProto& info) {
  check<FormatError>(info.type().has_tensor_type() && info.type().tensor_type().has_shape(), "the input ",
                     detail::quote(info.name()), " is no tensor of a known number of dimensions");
  const auto& type = info.type().tensor_type();
  const DType dtype = dtype_from_onnx(type.elem_type());
  const std::vector<int64_t> sizes = sizes_of(info);
  if (const auto fixed = model_->options.values.find(info.name()); fixed != model_->options.values.end()) {
    check<ValueError>(sizes.empty() || sizes == std::vector<int64_t>{1}, "the input ", detail::quote(info.name()),
                      " is no single number");
    values_[info.name()] = known(NDArray::full(Shape(sizes), fixed->second, dtype));
    return;
  }
  nn::Node* node = graph_.add_input(plain(info.name()));
  if (dtype != DType::float32) model_->quantized.other_inputs.insert(node);
  if (const std::optional<Shape> example = example_shape(info, sizes))
    node->attributes = nn::sample_attributes(Tensor(NDArray::placeholder(*example, dtype)));
  model_->ranks[node] = static_cast<int>(sizes.size());
  Value value{{}, node, static_cast<int>(sizes.size()), false};
  if (sizes.size() == 1 && sizes[0] != kFree) value.length = sizes[0];
  values_[info.name()] = value;
}

// The sizes of an example, with a batch of one; none where the file and the options leave some free.
std::optional<Shape> Importer::example_shape(const ::onnx::ValueInfoProto& info, std::vector<int64_t> sizes) const {
  if (const auto given = model_->options.shapes.find(info.name()); given != model_->options.shapes.end()) {
    const std::vector<int64_t> wanted = given->second.to_vector();
    const bool fits = std::ranges::equal(wanted, sizes, [](int64_t size, int64_t declared) {
      return size >= 1 && (declared == kFree || declared == size);
    });
    check<ValueError>(fits, "the input ", detail::quote(info.name()), " cannot have the shape ", given->second);
    sizes = wanted;
  }
  if (sizes.empty() || sizes.size() > Shape::kMaxDims) return std::nullopt;
  sizes[0] = 1;
  if (std::ranges::find(sizes, kFree) != sizes.end()) return std::nullopt;
  return Shape(sizes);
}

void Importer::set_outputs(const ::onnx::GraphProto& proto) {
  std::vector<nn::GraphOutput> outputs;
  for (const ::onnx::ValueInfoProto& info : proto.output()) {
    Value* value = find(info.name());
    check<FormatError>(value, "no node computes the output ", detail::quote(info.name()));
    outputs.push_back({plain(info.name()), output_node(info, *value)});
  }
  check<FormatError>(!outputs.empty(), "it has no output");
  graph_.set_outputs(std::move(outputs));
}

// What a file declares as of 16 bits is float32 up to here, and has their numbers from here on.
nn::Node* Importer::output_node(const ::onnx::ValueInfoProto& info, Value& value) {
  nn::Node* node = node_of(value, info.name());
  const int32_t type = info.type().tensor_type().elem_type();
  const bool is_float16 = type == ::onnx::TensorProto::FLOAT16;
  if (!is_float16 && type != ::onnx::TensorProto::BFLOAT16) return node;
  const std::string dtype(name(is_float16 ? DType::float16 : DType::bfloat16));
  return graph_.add_op(plain(info.name() + ".rounded"), "rounded_to", {{"dtype", dtype}}, {node});
}

}  // namespace thimble::onnx
