#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>

#include <thimble/core/bfloat16.h>
#include <thimble/core/float16.h>
#include <thimble/core/platform/io_error.h>
#include <thimble/core/small_float.h>
#include <thimble/core/text.h>
#include <thimble/serialization/onnx/tensor_array.h>

namespace thimble::onnx {

namespace {

namespace fs = std::filesystem;
using ::onnx::TensorProto;

constexpr uint64_t kMostBytes = uint64_t{1} << 40;

// Numbers of types that are newer than the messages that this is compiled with.
constexpr int32_t kFloat8E4M3FN = 17, kFloat8E4M3FNUZ = 18, kFloat8E5M2 = 19, kFloat8E5M2FNUZ = 20, kUint4 = 21,
                  kInt4 = 22, kFloat4E2M1 = 23, kUint2 = 25, kInt2 = 26;

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

// Where external data lies.
struct Location {
  std::string file;
  uint64_t offset = 0;
  std::optional<uint64_t> length;
};

uint64_t number_of(const std::string& text, const std::string& key) {
  check<FormatError>(!text.empty() && text.size() <= 18 && text.find_first_not_of("0123456789") == std::string::npos,
                     "external data: '", key, "' is ", detail::quote(text), ", expected a number");
  return std::stoull(text);
}

Location location_of(const TensorProto& tensor) {
  Location location;
  for (const auto& entry : tensor.external_data()) {
    if (entry.key() == "location") location.file = entry.value();
    if (entry.key() == "offset") location.offset = number_of(entry.value(), entry.key());
    if (entry.key() == "length") location.length = number_of(entry.value(), entry.key());
  }
  // Nothing but a file below the model's folder: no absolute path, no "..", no link that leads elsewhere.
  const fs::path relative(location.file);
  const bool stays = !location.file.empty() && relative.is_relative() &&
                     std::ranges::none_of(relative, [](const fs::path& part) { return part == ".."; });
  check<FormatError>(stays, "external data: ", detail::quote(location.file), " is not a file in the model's folder");
  return location;
}

struct ExternalFileClosed {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

std::string external_bytes(const TensorProto& tensor, const fs::path& folder, uint64_t wanted) {
  const Location location = location_of(tensor);
  const fs::path path = folder / location.file;
  std::error_code error;
  const fs::path inside = fs::canonical(folder, error), real = fs::weakly_canonical(path, error);
  check<FormatError>(std::ranges::mismatch(inside, real).in1 == inside.end(),
                     "external data: ", detail::quote(location.file), " is not a file in the model's folder");
  check<FormatError>(location.length.value_or(wanted) == wanted, "external data of ", detail::quote(tensor.name()),
                     ": ", location.length.value_or(0), " bytes, expected ", wanted);
  const std::unique_ptr<std::FILE, ExternalFileClosed> file(std::fopen(path.c_str(), "rbe"));
  if (!file) detail::throw_io_error("open", path, errno);
  const uint64_t size = fs::file_size(path, error);
  check<FormatError>(!error && location.offset <= size && wanted <= size - location.offset, "external data of ",
                     detail::quote(tensor.name()), " lies beyond the end of ", detail::quote_path(path));
  std::string bytes(wanted, '\0');
  if (fseeko(file.get(), static_cast<off_t>(location.offset), SEEK_SET) != 0 ||
      std::fread(bytes.data(), 1, wanted, file.get()) != wanted)
    detail::throw_io_error("read", path, errno);
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
NDArray from_bytes(const TensorProto& tensor, const Shape& shape, const std::string& bytes) {
  check<FormatError>(bytes.size() == static_cast<size_t>(shape.numel()) * sizeof(T), "tensor ",
                     detail::quote(tensor.name()), " of shape ", shape, " has ", bytes.size(), " bytes, expected ",
                     static_cast<size_t>(shape.numel()) * sizeof(T));
  NDArray array(shape, dtype_of<T>);
  if (!bytes.empty()) std::memcpy(array.data<T>(), bytes.data(), bytes.size());
  return array;
}

template <typename T, typename List>
NDArray elements(const TensorProto& tensor, const fs::path& folder, const List& list, const Shape& shape) {
  if (tensor.data_location() == TensorProto::EXTERNAL)
    return from_bytes<T>(tensor, shape,
                         external_bytes(tensor, folder, static_cast<uint64_t>(shape.numel()) * sizeof(T)));
  return tensor.has_raw_data() ? from_bytes<T>(tensor, shape, tensor.raw_data()) : from_list<T>(tensor, shape, list);
}

template <typename T, typename List>
NDArray elements(const TensorProto& tensor, const fs::path& folder, const List& list) {
  return elements<T>(tensor, folder, list, shape_of(tensor));
}

// Numbers of 16 bits, as their bits.
template <typename To>
NDArray halves(const TensorProto& tensor, const fs::path& folder) {
  const NDArray bits = elements<uint16_t>(tensor, folder, tensor.int32_data());
  NDArray array(bits.shape(), dtype_of<To>);
  if (bits.numel() > 0) std::memcpy(array.raw(), bits.raw(), static_cast<size_t>(bits.nbytes()));
  return array.to(DType::float32);
}

// Several elements a byte, the first in the lowest bits, as unsigned integers. Where there are no raw bytes, each
// number of the list is one.
std::vector<uint8_t> packed_elements(const TensorProto& tensor, const fs::path& folder, int bits) {
  const auto count = static_cast<size_t>(shape_of(tensor).numel()), per_byte = static_cast<size_t>(8 / bits);
  const Shape bytes{static_cast<int64_t>((count + per_byte - 1) / per_byte)};
  const NDArray packed = elements<uint8_t>(tensor, folder, tensor.int32_data(), bytes);
  std::vector<uint8_t> values(count);
  for (size_t i = 0; i < count; ++i) {
    const unsigned byte = packed.data<uint8_t>()[i / per_byte], at = static_cast<unsigned>(i % per_byte);
    values[i] = static_cast<uint8_t>((byte >> (at * static_cast<unsigned>(bits))) & ((1u << bits) - 1));
  }
  return values;
}

NDArray packed_integers(const TensorProto& tensor, const fs::path& folder, int bits, bool is_signed) {
  std::vector<uint8_t> values = packed_elements(tensor, folder, bits);
  const Shape shape = shape_of(tensor);
  if (!is_signed) return NDArray::from_vector(values, shape);
  NDArray array(shape, DType::int8);
  const int sign = 1 << (bits - 1);
  std::ranges::transform(values, array.data<int8_t>(),
                         [sign](uint8_t v) { return static_cast<int8_t>((v ^ sign) - sign); });
  return array;
}

NDArray small_floats(const TensorProto& tensor, const fs::path& folder, SmallFloat format) {
  const std::vector<uint8_t> bits = packed_elements(tensor, folder, format == SmallFloat::float4e2m1 ? 4 : 8);
  NDArray array(shape_of(tensor));
  std::ranges::transform(bits, array.data<float>(), [format](uint8_t b) { return small_float_value(b, format); });
  return array;
}

}  // namespace

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

NDArray array_of(const TensorProto& tensor, const fs::path& folder) {
  switch (tensor.data_type()) {
    case TensorProto::FLOAT:
      return elements<float>(tensor, folder, tensor.float_data());
    case TensorProto::FLOAT16:
      return halves<float16>(tensor, folder);
    case TensorProto::BFLOAT16:
      return halves<bfloat16>(tensor, folder);
    case TensorProto::DOUBLE:
      return elements<double>(tensor, folder, tensor.double_data());
    case TensorProto::INT64:
      return elements<int64_t>(tensor, folder, tensor.int64_data());
    case TensorProto::INT32:
      return elements<int32_t>(tensor, folder, tensor.int32_data());
    case TensorProto::INT16:
      return elements<int16_t>(tensor, folder, tensor.int32_data());
    case TensorProto::INT8:
      return elements<int8_t>(tensor, folder, tensor.int32_data());
    case TensorProto::UINT64:
      return elements<uint64_t>(tensor, folder, tensor.uint64_data());
    case TensorProto::UINT32:
      return elements<uint32_t>(tensor, folder, tensor.uint64_data());
    case TensorProto::UINT16:
      return elements<uint16_t>(tensor, folder, tensor.int32_data());
    case TensorProto::UINT8:
      return elements<uint8_t>(tensor, folder, tensor.int32_data());
    case TensorProto::BOOL:
      return elements<uint8_t>(tensor, folder, tensor.int32_data()).to(DType::bool_);
    case kUint4:
      return packed_integers(tensor, folder, 4, false);
    case kInt4:
      return packed_integers(tensor, folder, 4, true);
    case kUint2:
      return packed_integers(tensor, folder, 2, false);
    case kInt2:
      return packed_integers(tensor, folder, 2, true);
    case kFloat8E4M3FN:
    case kFloat8E4M3FNUZ:
    case kFloat8E5M2:
    case kFloat8E5M2FNUZ:
    case kFloat4E2M1:
      return small_floats(tensor, folder, *small_float_from_name(name_of_small_type(tensor.data_type())));
    default:
      throw FormatError(str("tensor ", detail::quote(tensor.name()), ": elements of type ", tensor.data_type(),
                            " (TensorProto.DataType) are not covered"));
  }
}

}  // namespace thimble::onnx
