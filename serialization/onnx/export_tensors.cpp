#include <utility>

#include <thimble/serialization/onnx/data_types.h>
#include <thimble/serialization/onnx/export_tensors.h>

namespace thimble::onnx {

using ::onnx::TensorProto;

namespace {

TensorProto tensor_named(const std::string& name, int32_t type, const Shape& shape) {
  TensorProto tensor;
  tensor.set_name(name);
  tensor.set_data_type(type);
  for (const int64_t size : shape) tensor.add_dims(size);
  return tensor;
}

}  // namespace

int32_t onnx_type(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return TensorProto::FLOAT;
    case DType::float64:
      return TensorProto::DOUBLE;
    case DType::float16:
      return TensorProto::FLOAT16;
    case DType::bfloat16:
      return TensorProto::BFLOAT16;
    case DType::int8:
      return TensorProto::INT8;
    case DType::int16:
      return TensorProto::INT16;
    case DType::int32:
      return TensorProto::INT32;
    case DType::int64:
      return TensorProto::INT64;
    case DType::uint8:
      return TensorProto::UINT8;
    case DType::uint16:
      return TensorProto::UINT16;
    case DType::uint32:
      return TensorProto::UINT32;
    case DType::uint64:
      return TensorProto::UINT64;
    case DType::bool_:
      return TensorProto::BOOL;
  }
  throw ValueError(str("export: ONNX has no elements of type ", name(dtype)));
}

TensorProto tensor_of(const std::string& name, const NDArray& array) {
  TensorProto tensor = tensor_named(name, onnx_type(array.dtype()), array.shape());
  const NDArray dense = array.contiguous();
  tensor.set_raw_data(dense.raw(), static_cast<size_t>(dense.nbytes()));
  return tensor;
}

TensorProto packed_tensor(const std::string& name, const NDArray& integers, int bits) {
  const bool is_signed = integers.dtype() == DType::int8;
  const int32_t type = bits == 4 ? (is_signed ? kInt4 : kUint4) : is_signed ? kInt2 : kUint2;
  TensorProto tensor = tensor_named(name, type, integers.shape());
  const NDArray dense = integers.contiguous();
  const auto* values = static_cast<const uint8_t*>(dense.raw());
  const auto in_byte = static_cast<size_t>(8 / bits), count = static_cast<size_t>(dense.numel());
  std::string bytes((count + in_byte - 1) / in_byte, '\0');
  for (size_t i = 0; i < count; ++i) {
    const auto value = static_cast<unsigned>(values[i] & ((1 << bits) - 1));
    char& byte = bytes[i / in_byte];
    byte = static_cast<char>(static_cast<unsigned char>(byte) | value << (i % in_byte * static_cast<size_t>(bits)));
  }
  tensor.set_raw_data(std::move(bytes));
  return tensor;
}

}  // namespace thimble::onnx
