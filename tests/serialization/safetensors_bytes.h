// Safetensors files made by hand.
#pragma once

#include <cstdint>
#include <string>

namespace thimble {

/// A file of this header, which may be wrong, and these bytes of data.
inline std::string file_of(const std::string& header, const std::string& data = "") {
  const uint64_t size = header.size();
  return std::string(reinterpret_cast<const char*>(&size), 8) + header + data;
}

}  // namespace thimble
