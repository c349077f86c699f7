// The JSON header of a safetensors file: what tensors there are and where their bytes lie. Internal to
// serialization.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <thimble/core/dtype.h>
#include <thimble/core/shape.h>

namespace thimble::detail {

/// The format's own limit on the size of a header.
inline constexpr size_t kMaxHeaderBytes = 100'000'000;

/// How a file holds elements, and as what they are read.
struct StoredType {
  std::string_view name;       // in the file: "F32"
  std::optional<DType> dtype;  // none if Thimble lacks it
  size_t bits;                 // of an element
};

/// The type under which a dtype is written.
const StoredType& stored_type(DType dtype);
/// Null if the format has no such type.
const StoredType* find_stored_type(std::string_view name);

/// The bytes that an array takes in a file; none if they cannot be counted or its bits do not fill whole bytes.
std::optional<uint64_t> stored_bytes(const StoredType& type, const Shape& shape);

struct TensorRecord {
  std::string name;
  const StoredType* type = nullptr;
  Shape shape;
  uint64_t begin = 0, end = 0;  // bytes from the beginning of the data, which follows the header
};

struct SafetensorsHeader {
  std::map<std::string, std::string> metadata;  // without the checksums
  std::vector<TensorRecord> tensors;
  std::optional<std::string> checksums = {};  // as the file holds them, not looked at; see checksums.h
};

/// Reads an untrusted header. The result is sound: every tensor's type is known, its range lies within `data_bytes`
/// and is as long as shape and type say (a product that does not overflow), and the ranges cover the data without holes
/// or overlaps. Throws FormatError, one line, for anything else.
SafetensorsHeader parse_safetensors_header(std::string_view json, uint64_t data_bytes);

/// The header as JSON, padded with spaces such that with the eight bytes of its length it fills a multiple of 64 bytes,
/// with the checksums of its tensors' bytes (one each, instead of header.checksums) and its own. Its size does not
/// depend on the sums. Throws ValueError for text that is not UTF-8, a name that appears twice or is "__metadata__",
/// metadata under the checksums' name, or too long a header.
std::string format_safetensors_header(const SafetensorsHeader& header, const std::vector<uint32_t>& checksums);

}  // namespace thimble::detail
