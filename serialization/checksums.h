// CRC-32 sums of a safetensors file's parts, which its metadata holds. Internal to serialization and the
// program.
//
// The first entry of __metadata__ is "thimble.crc32": eight hex digits for the header and, after a space each, eight
// for the bytes of each tensor, in the header's order. The header's sum is of all bytes before the data (the header's
// length, its text and padding), with zeros for its own eight digits.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/core/ndarray.h>

namespace thimble::detail {

inline constexpr const char* kChecksumsKey = "thimble.crc32";

/// CRC-32 as of zlib, gzip and PNG; of bytes in pieces, if `before` is the sum of those before.
uint32_t crc32(std::string_view bytes, uint32_t before = 0);

/// The same of the elements' bytes, in row-major order.
THIMBLE_API uint32_t crc32_of(const NDArray& array, uint32_t before = 0);

/// The value of the metadata for these tensors' sums, still with zeros for the header's digits.
std::string format_checksums(const std::vector<uint32_t>& tensors);

/// Puts the sum of the header's text into it, which must begin with the checksums as format_safetensors_header() writes
/// them.
void seal_header(std::string& text);

/// Throws FormatError, saying what the sums are and should be, unless `checksums` holds as many sums as there are
/// tensors and the header's is right.
void verify_header(std::string_view text, std::string_view checksums, size_t tensors);

/// The same for the tensor of this index and name.
void verify_tensor(std::string_view bytes, std::string_view checksums, size_t index, const std::string& name);

}  // namespace thimble::detail
