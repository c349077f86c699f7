#include <algorithm>

#include <thimble/core/error.h>
#include <thimble/serialization/onnx/import_budget.h>
#include <thimble/serialization/onnx/tensor_array.h>

namespace thimble::onnx {

namespace {

using ::onnx::TensorProto;

// By how much a number's bytes in the file become more as float32.
double widening(const TensorProto& tensor) {
  const std::string_view small = name_of_small_type(tensor.data_type());
  if (small.ends_with("int2")) return 16;
  if (small.ends_with("int4") || small == "float4e2m1") return 8;
  switch (tensor.data_type()) {
    case TensorProto::FLOAT16:
    case TensorProto::BFLOAT16:
    case TensorProto::INT16:
    case TensorProto::UINT16:
      return 2;
    case TensorProto::INT8:
    case TensorProto::UINT8:
    case TensorProto::BOOL:
      return 4;
    default:
      return small.empty() ? 1 : 4;
  }
}

double widened(const TensorProto& tensor) {
  return (widening(tensor) - 1) * static_cast<double>(tensor.raw_data().size());
}

double widened(const ::onnx::GraphProto& graph);

// What the numbers in the nodes' attributes take as floats, beyond their bytes in the file.
double widened(const google::protobuf::RepeatedPtrField<::onnx::NodeProto>& nodes) {
  double bytes = 0;
  for (const ::onnx::NodeProto& node : nodes)
    for (const ::onnx::AttributeProto& attribute : node.attribute()) {
      if (attribute.has_t()) bytes += widened(attribute.t());
      if (attribute.has_g()) bytes += widened(attribute.g());
    }
  return bytes;
}

double widened(const ::onnx::GraphProto& graph) {
  double bytes = widened(graph.node());
  for (const TensorProto& tensor : graph.initializer()) bytes += widened(tensor);
  return bytes;
}

double numbers_of(const ::onnx::ModelProto& model) {
  double bytes = static_cast<double>(model.ByteSizeLong()) + widened(model.graph());
  for (const ::onnx::FunctionProto& function : model.functions()) bytes += widened(function.node());
  return bytes;
}

}  // namespace

ImportBudget::ImportBudget(const ::onnx::ModelProto& model, double slack)
    : slack_(slack), numbers_(numbers_of(model)) {}

// However many tensors lie in the file, and wherever in it: together they are counted once.
void ImportBudget::add_external(const TensorProto& tensor, const MappedFile& file) {
  double elements = 1;
  for (const int64_t n : tensor.dims()) elements *= static_cast<double>(n);
  double& added = external_[&file];
  const double wanted =
      std::min(added + 4 * std::max(elements, 0.0), widening(tensor) * static_cast<double>(file.size()));
  numbers_ += std::max(wanted - added, 0.0);
  added = std::max(wanted, added);
}

bool ImportBudget::compute(double bytes) {
  if (!(computed_ + bytes <= limit())) return false;
  computed_ += bytes;
  return true;
}

void ImportBudget::hold(double bytes) {
  held_ += bytes;
  check<FormatError>(held_ <= 4 * limit(), "it asks for more than ", 4 * limit(),
                     " bytes of nodes, constants and copies, which is too many for a file of its size");
}

}  // namespace thimble::onnx
