// Strings as one, and apart.
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

/// The parts between separators; of an empty text, one that is empty.
inline std::vector<std::string> split_at(const std::string& text, char separator) {
  std::vector<std::string> parts{""};
  for (const char c : text) {
    if (c == separator)
      parts.emplace_back();
    else
      parts.back() += c;
  }
  return parts;
}

}  // namespace thimble::apps
