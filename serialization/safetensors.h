// Named tensors in a file that programs in many languages can read: https://github.com/huggingface/safetensors
//
//   save_safetensors("net.safetensors", {{"author", "me"}}, {{"weight", w}, {"bias", b}});
//   TensorFile file = load_safetensors("net.safetensors");
//   NDArray w = file.tensors[0].second;
//
// The file: the length of the header (8 bytes, little-endian), the header (JSON), and the tensors' bytes. What Thimble
// writes has checksums, too, which other programs take for a piece of metadata; see serialization/checksums.h.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/core/ndarray.h>
#include <thimble/serialization/atomic_file.h>
#include <thimble/serialization/load_options.h>

namespace thimble {

/// What a file says of a tensor of a dtype that Thimble lacks: "F8_E4M3", "C64".
struct THIMBLE_API ForeignTensor {
  std::string dtype;
  Shape shape;
};

/// What a safetensors file holds.
struct THIMBLE_API TensorFile {
  std::map<std::string, std::string> metadata;  // without the checksums
  NamedArrays tensors;                          // in the order of the header
  /// By name, those among the tensors whose dtype Thimble lacks. Their arrays are the bytes that the file has, as
  /// uint8: of the tensor's shape where an element is one byte (the 8-bit floats), else of shape [bytes].
  std::map<std::string, ForeignTensor> foreign = {};
};

/// Writes tensors of any dtype and shape (of strided ones, contiguous copies are held until the end). The header lists
/// them in the order given; the data begins at a multiple of 64 bytes and holds the widest dtypes first, then by name,
/// so that every tensor is aligned for its dtype. Tensors are read twice, first for their checksums. The file appears
/// under its name only when it is complete; until then, and after any error, the old file of that name stays (see
/// AtomicFile, whose temporary file has a name that begins with `prefix`). Throws IOError, or ValueError for a name
/// that is repeated, is "__metadata__" or is not UTF-8, for metadata named "thimble.crc32", and for an undefined array.
THIMBLE_API void save_safetensors(const std::filesystem::path& path, const std::map<std::string, std::string>& metadata,
                                  const NamedArrays& tensors, std::string_view prefix = AtomicFile::kPrefix);

/// The same for what load_safetensors() gave, foreign tensors included. Throws ValueError, too, for a foreign tensor of
/// a dtype that the format lacks, or whose array is not uint8 of as many bytes as that takes.
THIMBLE_API void save_safetensors(const std::filesystem::path& path, const TensorFile& file);

/// Bytes of the file that save_safetensors() would write. Throws its ValueError.
THIMBLE_API uint64_t safetensors_size(const std::map<std::string, std::string>& metadata, const NamedArrays& tensors);

/// Maps the file, unless it is to be read: the arrays borrow its memory, which is read from disk when touched, and may
/// be written to without changing the file (see MappedFile). Only tensors that a foreign file does not align for their
/// dtype are copied, and those of BOOL with other bytes than 0 and 1, which are true. Tensors of dtypes that Thimble
/// lacks are read as bytes, see TensorFile::foreign. Checksums are not looked at, for that would read all. Throws
/// IOError, or FormatError that names the file, the tensor and what was expected, for a file that is damaged or has a
/// dtype that the format lacks; never anything that is not an Error.
THIMBLE_API TensorFile load_safetensors(const std::filesystem::path& path, const LoadOptions& options = {});

/// Reads the whole file and compares header and tensors with their checksums: true if all are right, false if the file
/// has none, as those of other programs and of Thimble before format version 1.1. Throws IOError, or FormatError that
/// names the file, the first tensor (or the header) that is wrong, and both sums; or what load_safetensors() throws. A
/// file that another program has rewritten with Thimble's metadata is wrong, too.
[[nodiscard]] THIMBLE_API bool verify_safetensors(const std::filesystem::path& path);

/// load_safetensors() of a file that must have checksums, all of them right. Throws as verify_safetensors() does.
THIMBLE_API TensorFile load_verified_safetensors(const std::filesystem::path& path, const LoadOptions& options = {});

}  // namespace thimble
