// NumPy's .npz: named arrays in a file, a zip archive of .npy files.
//
//   save_npz("layer.npz", {{"weight", w}, {"bias", b}});      // Python: numpy.load("layer.npz")["weight"]
//   for (const auto& [name, array] : load_npz("layer.npz")) std::cout << name << ' ' << array << '\n';
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/core/ndarray.h>
#include <thimble/serialization/load_options.h>

namespace thimble {

/// The arrays in the order of the file, each as load_npy() would give it, in memory of their own; what numpy.savez and
/// numpy.savez_compressed write, but for arrays of 2 GiB or more. A file of n bytes takes no more memory than deflate
/// can pack into n bytes, and that only for arrays whose headers say so. Throws IOError, or FormatError that names the
/// file, the array and what was expected, whatever the file holds.
THIMBLE_API NamedArrays load_npz(const std::filesystem::path& path, const LoadOptions& options = {});

/// Writes the arrays in this order, each as save_npy() would, not compressed. The same arrays give the same bytes. The
/// file appears whole or not at all. Throws IOError, and ValueError for an undefined array or a name that repeats, is
/// not UTF-8, holds a zero byte or is longer than 65531 bytes, and for files of 4 GiB or more.
THIMBLE_API void save_npz(const std::filesystem::path& path, const NamedArrays& arrays);

}  // namespace thimble
