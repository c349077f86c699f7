// NumPy's .npy: one array in a file. https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
//
//   save_npy("weight.npy", w);            // Python: numpy.load("weight.npy")
//   NDArray w = load_npy("weight.npy");
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include <thimble/core/api.h>
#include <thimble/core/ndarray.h>
#include <thimble/serialization/load_options.h>

namespace thimble {

/// The array in a file of format version 1.0, 2.0 or 3.0, row-major. Elements: any dtype but bfloat16, which
/// NumPy lacks, little- or big-endian; bytes of bool other than 0 are true. Where neither order nor byte order is to be
/// changed, the array borrows the mapped file's memory and may be written to without changing the file (see
/// MappedFile). Throws IOError, or FormatError that names the file and what was expected, whatever the file holds.
THIMBLE_API NDArray load_npy(const std::filesystem::path& path, const LoadOptions& options = {});

/// Writes version 1.0, row-major, little-endian. bfloat16, which NumPy lacks, becomes float32. The file appears whole
/// or not at all. Throws IOError, and ValueError for an undefined array.
THIMBLE_API void save_npy(const std::filesystem::path& path, const NDArray& array);

namespace detail {

/// The array that is the content of a .npy file, over memory that `owner` keeps alive, or a copy (see load_npy).
/// Throws FormatError.
NDArray npy_array(std::byte* data, size_t size, const std::shared_ptr<void>& owner);
/// Throws the FormatError of npy_array() for a file of `size` bytes whose header, as its first bytes have it, does not
/// describe so many. kNpyHeaderLimit bytes hold any header.
void check_npy(std::span<const std::byte> beginning, uint64_t size);
inline constexpr size_t kNpyHeaderLimit = size_t{1} << 17;

/// The array as it is written: row-major, of a dtype that NumPy has.
THIMBLE_API NDArray as_npy(const NDArray& array);
/// What comes before the bytes of such an array; fills a multiple of 64 bytes.
std::string npy_header(const NDArray& array);

}  // namespace detail

}  // namespace thimble
