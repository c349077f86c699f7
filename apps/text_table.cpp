#include "apps/text_table.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>

namespace thimble::apps {

namespace {

size_t width(const std::string& text) {  // characters of UTF-8 text
  return static_cast<size_t>(std::ranges::count_if(text, [](char c) { return (c & 0xC0) != 0x80; }));
}

}  // namespace

std::string TextTable::str() const {
  std::vector<size_t> widths(rows_.front().size());
  for (const auto& row : rows_)
    for (size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], width(row[c]));
  std::string out;
  for (size_t r = 0; r < rows_.size(); ++r) {
    std::string line, rule;
    for (size_t c = 0; c < rows_[r].size(); ++c) {
      const std::string blanks(widths[c] - width(rows_[r][c]), ' ');
      if (c > 0) line += "  ";
      line += c == 0 ? rows_[r][c] + blanks : blanks + rows_[r][c];
      rule += std::string(widths[c] + (c ? 2 : 0), '-');
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + '\n';
    if (r == 0) out += rule + '\n';
  }
  return out;
}

std::string fixed(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof(text), "%.*f", digits, value);
  return text;
}

std::string with_commas(int64_t value) {
  std::string digits = std::to_string(value);
  for (auto i = static_cast<int64_t>(digits.size()) - 3; i > (value < 0 ? 1 : 0); i -= 3)
    digits.insert(static_cast<size_t>(i), 1, ',');
  return digits;
}

}  // namespace thimble::apps
