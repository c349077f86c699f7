// Triple: depth, height and width, as options of ops on volumes.
#pragma once

#include <algorithm>
#include <ostream>
#include <string>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/core/attributes.h>
#include <thimble/core/ops/pair.h>

namespace thimble {

/// Depth, height and width; one number stands for all.
struct THIMBLE_API Triple {
  Triple(int64_t all) : depth(all), height(all), width(all) {}
  Triple(int64_t d, int64_t h, int64_t w) : depth(d), height(h), width(w) {}
  friend bool operator==(const Triple&, const Triple&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Triple& t) {
    return out << t.depth << 'x' << t.height << 'x' << t.width;
  }
  int64_t depth, height, width;

  int64_t least() const { return std::min({depth, height, width}); }
  int64_t most() const { return std::max({depth, height, width}); }
  Pair plane() const { return {height, width}; }

  /// As an attribute.
  std::vector<int64_t> to_vector() const { return {depth, height, width}; }
  /// Throws FormatError.
  static Triple from(const Attributes& attributes, const std::string& key) {
    const auto list = attributes.get<std::vector<int64_t>>(key);
    check<FormatError>(list.size() == 3, "attribute '", key, "' has ", list.size(), " numbers, expected 3");
    return {list[0], list[1], list[2]};
  }
};

/// What is put around a volume: one number for all sides, three for depth, height and width, or two triples, of what is
/// before it (front, top, left) and what is behind it (back, bottom, right).
struct THIMBLE_API Padding3d {
  Padding3d(int64_t all) : Padding3d(Triple(all)) {}
  Padding3d(int64_t depth, int64_t height, int64_t width) : Padding3d(Triple(depth, height, width)) {}
  Padding3d(Triple both) : before(both), after(both) {}
  Padding3d(Triple front, Triple back) : before(front), after(back) {}
  friend bool operator==(const Padding3d&, const Padding3d&) = default;
  Triple before, after;

  /// As an attribute: what is before, then what is behind.
  std::vector<int64_t> to_vector() const {
    return {before.depth, before.height, before.width, after.depth, after.height, after.width};
  }
  /// Of six numbers, or three for both sides. Throws FormatError.
  static Padding3d from(const Attributes& attributes, const std::string& key) {
    const auto p = attributes.get<std::vector<int64_t>>(key);
    check<FormatError>(p.size() == 3 || p.size() == 6, "attribute '", key, "' has ", p.size(),
                       " numbers, expected 3 or 6");
    if (p.size() == 3) return {p[0], p[1], p[2]};
    return {Triple(p[0], p[1], p[2]), Triple(p[3], p[4], p[5])};
  }
};

}  // namespace thimble
