// Pair: height and width, as options of ops on images.
#pragma once

#include <string>

#include <thimble/core/api.h>
#include <thimble/core/attributes.h>

namespace thimble {

/// Height and width; one number stands for both.
struct THIMBLE_API Pair {
  Pair(int64_t both) : height(both), width(both) {}
  Pair(int64_t h, int64_t w) : height(h), width(w) {}
  friend bool operator==(const Pair&, const Pair&) = default;
  int64_t height, width;

  /// As an attribute.
  std::vector<int64_t> to_vector() const { return {height, width}; }
  /// Throws FormatError.
  static Pair from(const Attributes& attributes, const std::string& key) {
    const auto list = attributes.get<std::vector<int64_t>>(key);
    check<FormatError>(list.size() == 2, "attribute '", key, "' has ", list.size(), " numbers, expected 2");
    return {list[0], list[1]};
  }
};

}  // namespace thimble
