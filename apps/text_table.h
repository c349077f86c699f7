// A table of text with aligned columns.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace thimble::apps {

class TextTable {
 public:
  explicit TextTable(std::vector<std::string> header) : rows_{std::move(header)} {}
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  /// The first column is aligned left, numbers in the others right.
  std::string str() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

/// 12.3456 -> "12.35" for two digits.
std::string fixed(double value, int digits);
/// 1486858 -> "1,486,858"
std::string with_commas(int64_t value);

}  // namespace thimble::apps
