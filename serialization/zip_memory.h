// Memory as what minizip takes for a file. Internal to serialization.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <minizip/ioapi.h>

namespace thimble::detail {

/// A file that is read, or written if `written` is given.
struct ZipMemory {
  std::span<const std::byte> content = {};
  std::vector<std::byte>* written = nullptr;
  uint64_t position = 0;
  bool out_of_memory = false;  ///< nothing is written any more, and nothing says so to minizip
  bool read_past_end = false;  ///< reported as an error: minizip takes what it could not read for zeros otherwise

  /// minizip's functions on this file, which must outlive their use.
  zlib_filefunc64_def functions();
};

}  // namespace thimble::detail
