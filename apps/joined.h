// Strings as one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace thimble::apps {

/// {"a", "b"} -> "a, b", with the separator between them.
inline std::string joined(const std::vector<std::string>& values, std::string_view separator) {
  std::string all;
  for (const std::string& value : values) {
    if (!all.empty()) all += separator;
    all += value;
  }
  return all;
}

}  // namespace thimble::apps
