#include <algorithm>

#include <thimble/core/text.h>
#include <thimble/core/text_table.h>

namespace thimble::detail {

namespace {

size_t width(const std::string& text) {  // characters of UTF-8 text
  return static_cast<size_t>(std::ranges::count_if(text, [](char c) { return (c & 0xC0) != 0x80; }));
}

}  // namespace

void TextTable::add(std::vector<std::string> row) {
  constexpr size_t kLongest = 400;  // one long cell makes every row as wide
  for (std::string& cell : row) cell = printable(cell, kLongest);
  rows_.push_back(std::move(row));
}

std::string TextTable::str() const {
  std::vector<size_t> widths(rows_.front().size());
  for (const auto& row : rows_)
    for (size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], width(row[c]));
  std::string out;
  for (size_t r = 0; r < rows_.size(); ++r) {
    std::string line, rule;
    for (size_t c = 0; c < rows_[r].size(); ++c) {
      const std::string blanks(widths[c] - width(rows_[r][c]), ' ');
      const bool left = c == 0 || others_ == Align::left;
      if (c > 0) line += "  ";
      line += left ? rows_[r][c] + blanks : blanks + rows_[r][c];
      rule += std::string(widths[c] + (c ? 2 : 0), '-');
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + '\n';
    if (r == 0) out += rule + '\n';
  }
  return out;
}

}  // namespace thimble::detail
