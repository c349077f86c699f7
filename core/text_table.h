// A table of text with aligned columns. Internal to the library and its program.
#pragma once

#include <cstddef>
#include <limits>
#include <string>
#include <vector>

#include <thimble/core/api.h>

namespace thimble::detail {

/// Cells may hold names from files: they are printed without control characters, shortened to 400 bytes.
class THIMBLE_API TextTable {
 public:
  enum class Align { left, right };

  /// The first column is aligned left, the others as told: numbers want the right.
  explicit TextTable(const std::vector<std::string>& header, Align others = Align::right) : others_(others) {
    add(header);
  }

  /// As many cells as the header has.
  void add(std::vector<std::string> row);
  /// The header, a rule, and the rows. Where a line would be longer than `width` characters, the widest columns are
  /// made narrower, and their cells have several lines.
  std::string str(size_t width = std::numeric_limits<size_t>::max()) const;

 private:
  std::vector<size_t> widths_within(size_t width) const;

  Align others_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace thimble::detail
