// A table of text with aligned columns.
#pragma once

#include <string>
#include <vector>

namespace thimble::detail {

/// Cells may hold names from files: they are printed on one line and without control characters, shortened to 400
/// bytes.
class TextTable {
 public:
  enum class Align { left, right };

  /// The first column is aligned left, the others as told: numbers want the right.
  explicit TextTable(const std::vector<std::string>& header, Align others = Align::right) : others_(others) {
    add(header);
  }

  /// As many cells as the header has.
  void add(std::vector<std::string> row);
  /// The header, a rule, and a line for each row.
  std::string str() const;

 private:
  Align others_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace thimble::detail
