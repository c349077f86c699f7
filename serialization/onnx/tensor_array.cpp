#include <algorithm>
#include <cstring>
#include <memory>

#include <thimble/core/bfloat16.h>
#include <thimble/core/float16.h>
#include <thimble/core/small_float.h>
#include <thimble/core/text.h>
#include <thimble/serialization/onnx/data_types.h>
#include <thimble/serialization/onnx/tensor_array.h>

namespace thimble::onnx {

namespace {

using ::onnx::TensorProto;

constexpr uint64_t kMostBytes = uint64_t{1} << 40;

Shape shape_of(const TensorProto& tensor) {
  check<FormatError>(tensor.dims_size() <= Shape::kMaxDims, "tensor ", detail::quote(tensor.name()), " has ",
                     tensor.dims_size(), " dimensions, expected at most ", Shape::kMaxDims);
  Shape shape;
  uint64_t bytes = 8;
  for (const int64_t size : tensor.dims()) {
    check<FormatError>(size >= 0, "tensor ", detail::quote(tensor.name()), " has a size of ", size);
    check<FormatError>(!__builtin_mul_overflow(bytes, std::max<uint64_t>(static_cast<uint64_t>(size), 1), &bytes) &&
                           bytes <= kMostBytes,
                       "tensor ", detail::quote(tensor.name()), " is too large");
    shape.push_back(size);
  }
  return shape;
}

// Bytes of a file, which is mapped.
struct FileBytes {
  std::shared_ptr<const MappedFile> file;
  uint64_t offset = 0;
};

uint64_t number_of(const std::string& text, const std::string& key) {
  check<FormatError>(!text.empty() && text.size() <= 18 && text.find_first_not_of("0123456789") == std::string::npos,
                     "external data: '", key, "' is ", detail::quote(text), ", expected a number");
  return std::stoull(text);
}

std::string location_of(const TensorProto& tensor) {
  std::string location;
  for (const auto& entry : tensor.external_data())
    if (entry.key() == "location") location = entry.value();
  return location;
}

FileBytes external_bytes(const TensorProto& tensor, const DataFiles& files, uint64_t wanted) {
  FileBytes bytes{external_file(tensor, files)};
  uint64_t length = wanted;
  for (const auto& entry : tensor.external_data()) {
    if (entry.key() == "offset") bytes.offset = number_of(entry.value(), entry.key());
    if (entry.key() == "length") length = number_of(entry.value(), entry.key());
  }
  check<FormatError>(length == wanted, "tensor ", detail::quote(tensor.name()), " has ", length, " bytes, expected ",
                     wanted);
  check<FormatError>(bytes.offset <= bytes.file->size() && wanted <= bytes.file->size() - bytes.offset,
                     "external data of ", detail::quote(tensor.name()), " lies beyond the end of ",
                     detail::quote(location_of(tensor)));
  return bytes;
}

// From the list of numbers that holds elements of this type where there are no raw bytes.
template <typename T, typename List>
NDArray from_list(const TensorProto& tensor, const Shape& shape, const List& list) {
  check<FormatError>(list.size() == shape.numel(), "tensor ", detail::quote(tensor.name()), " of shape ", shape,
                     " has ", list.size(), " elements");
  NDArray array(shape, dtype_of<T>);
  std::ranges::transform(list, array.data<T>(), [](auto value) { return static_cast<T>(value); });
  return array;
}

template <typename T>
NDArray copied(const std::byte* bytes, const Shape& shape) {
  NDArray array(shape, dtype_of<T>);
  if (array.numel() > 0) std::memcpy(array.data<T>(), bytes, static_cast<size_t>(array.nbytes()));
  return array;
}

// Those of large ones are read when somebody asks for them.
template <typename T>
NDArray from_file(const FileBytes& bytes, const Shape& shape) {
  const uint64_t size = static_cast<uint64_t>(shape.numel()) * sizeof(T);
  if (size < kLargeTensor) return copied<T>(bytes.file->data() + bytes.offset, shape);
  return NDArray::unread(bytes.file, bytes.offset, shape, dtype_of<T>);
}

template <typename T, typename List>
NDArray elements(const TensorProto& tensor, const DataFiles& files, const List& list, const Shape& shape) {
  const uint64_t size = static_cast<uint64_t>(shape.numel()) * sizeof(T);
  if (tensor.data_location() == TensorProto::EXTERNAL) return from_file<T>(external_bytes(tensor, files, size), shape);
  if (!tensor.has_raw_data()) return from_list<T>(tensor, shape, list);
  const std::string& raw = tensor.raw_data();
  check<FormatError>(raw.size() == size, "tensor ", detail::quote(tensor.name()), " of shape ", shape, " has ",
                     raw.size(), " bytes, expected ", size);
  return copied<T>(reinterpret_cast<const std::byte*>(raw.data()), shape);
}

template <typename T, typename List>
NDArray elements(const TensorProto& tensor, const DataFiles& files, const List& list) {
  return elements<T>(tensor, files, list, shape_of(tensor));
}

// Numbers of 16 bits, as their bits.
template <typename To>
NDArray halves(const TensorProto& tensor, const DataFiles& files) {
  const NDArray bits = elements<uint16_t>(tensor, files, tensor.int32_data()).read_once();
  NDArray array(bits.shape(), dtype_of<To>);
  if (bits.numel() > 0) std::memcpy(array.raw(), bits.raw(), static_cast<size_t>(bits.nbytes()));
  return array.to(DType::float32);
}

// Several elements a byte, the first in the lowest bits, as unsigned integers. Where there are no raw bytes, each
// number of the list is one.
std::vector<uint8_t> packed_elements(const TensorProto& tensor, const DataFiles& files, int bits) {
  const auto count = static_cast<size_t>(shape_of(tensor).numel()), per_byte = static_cast<size_t>(8 / bits);
  const Shape bytes{static_cast<int64_t>((count + per_byte - 1) / per_byte)};
  const NDArray packed = elements<uint8_t>(tensor, files, tensor.int32_data(), bytes).read_once();
  const auto* packed_bytes = packed.data<uint8_t>();
  std::vector<uint8_t> values(count);
  for (size_t i = 0; i < count; ++i) {
    const unsigned byte = packed_bytes[i / per_byte], at = static_cast<unsigned>(i % per_byte);
    values[i] = static_cast<uint8_t>((byte >> (at * static_cast<unsigned>(bits))) & ((1u << bits) - 1));
  }
  return values;
}

NDArray packed_integers(const TensorProto& tensor, const DataFiles& files, int bits, bool is_signed) {
  std::vector<uint8_t> values = packed_elements(tensor, files, bits);
  const Shape shape = shape_of(tensor);
  if (!is_signed) return NDArray::from_vector(values, shape);
  NDArray array(shape, DType::int8);
  const int sign = 1 << (bits - 1);
  std::ranges::transform(values, array.data<int8_t>(),
                         [sign](uint8_t v) { return static_cast<int8_t>((v ^ sign) - sign); });
  return array;
}

NDArray small_floats(const TensorProto& tensor, const DataFiles& files, SmallFloat format) {
  const std::vector<uint8_t> bits = packed_elements(tensor, files, format == SmallFloat::float4e2m1 ? 4 : 8);
  NDArray array(shape_of(tensor));
  std::ranges::transform(bits, array.data<float>(), [format](uint8_t b) { return small_float_value(b, format); });
  return array;
}

}  // namespace

std::shared_ptr<const MappedFile> external_file(const TensorProto& tensor, const DataFiles& files) {
  try {
    return files.open(location_of(tensor));
  } catch (const FormatError& e) {
    throw FormatError(str("tensor ", detail::quote(tensor.name()), ": ", e.what()));
  }
}

std::string_view name_of_small_type(int32_t data_type) {
  switch (data_type) {
    case kUint4:
      return "uint4";
    case kInt4:
      return "int4";
    case kUint2:
      return "uint2";
    case kInt2:
      return "int2";
    case kFloat8E4M3FN:
      return "float8e4m3fn";
    case kFloat8E4M3FNUZ:
      return "float8e4m3fnuz";
    case kFloat8E5M2:
      return "float8e5m2";
    case kFloat8E5M2FNUZ:
      return "float8e5m2fnuz";
    case kFloat4E2M1:
      return "float4e2m1";
    default:
      return "";
  }
}

DType dtype_from_onnx(int32_t data_type) {
  switch (data_type) {
    case TensorProto::FLOAT:
    case TensorProto::FLOAT16:
    case TensorProto::BFLOAT16:
      return DType::float32;
    case TensorProto::DOUBLE:
      return DType::float64;
    case TensorProto::INT64:
      return DType::int64;
    case TensorProto::INT32:
      return DType::int32;
    case TensorProto::INT16:
      return DType::int16;
    case TensorProto::INT8:
      return DType::int8;
    case TensorProto::UINT64:
      return DType::uint64;
    case TensorProto::UINT32:
      return DType::uint32;
    case TensorProto::UINT16:
      return DType::uint16;
    case TensorProto::UINT8:
      return DType::uint8;
    case TensorProto::BOOL:
      return DType::bool_;
    default:
      throw FormatError(str("elements of type ", data_type, " (TensorProto.DataType) are not covered"));
  }
}

NDArray array_of(const TensorProto& tensor, const DataFiles& files) {
  switch (tensor.data_type()) {
    case TensorProto::FLOAT:
      return elements<float>(tensor, files, tensor.float_data());
    case TensorProto::FLOAT16:
      return halves<float16>(tensor, files);
    case TensorProto::BFLOAT16:
      return halves<bfloat16>(tensor, files);
    case TensorProto::DOUBLE:
      return elements<double>(tensor, files, tensor.double_data());
    case TensorProto::INT64:
      return elements<int64_t>(tensor, files, tensor.int64_data());
    case TensorProto::INT32:
      return elements<int32_t>(tensor, files, tensor.int32_data());
    case TensorProto::INT16:
      return elements<int16_t>(tensor, files, tensor.int32_data());
    case TensorProto::INT8:
      return elements<int8_t>(tensor, files, tensor.int32_data());
    case TensorProto::UINT64:
      return elements<uint64_t>(tensor, files, tensor.uint64_data());
    case TensorProto::UINT32:
      return elements<uint32_t>(tensor, files, tensor.uint64_data());
    case TensorProto::UINT16:
      return elements<uint16_t>(tensor, files, tensor.int32_data());
    case TensorProto::UINT8:
      return elements<uint8_t>(tensor, files, tensor.int32_data());
    case TensorProto::BOOL:
      return elements<uint8_t>(tensor, files, tensor.int32_data()).to(DType::bool_);
    case kUint4:
      return packed_integers(tensor, files, 4, false);
    case kInt4:
      return packed_integers(tensor, files, 4, true);
    case kUint2:
      return packed_integers(tensor, files, 2, false);
    case kInt2:
      return packed_integers(tensor, files, 2, true);
    case kFloat8E4M3FN:
    case kFloat8E4M3FNUZ:
    case kFloat8E5M2:
    case kFloat8E5M2FNUZ:
    case kFloat4E2M1:
      return small_floats(tensor, files, *small_float_from_name(name_of_small_type(tensor.data_type())));
    default:
      throw FormatError(str("tensor ", detail::quote(tensor.name()), ": elements of type ", tensor.data_type(),
                            " (TensorProto.DataType) are not covered"));
  }
}

}  // namespace thimble::onnx
