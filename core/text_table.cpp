#include <algorithm>
#include <numeric>

#include <thimble/core/text.h>
#include <thimble/core/text_table.h>
#include <thimble/core/text_wrap.h>

namespace thimble::detail {

namespace {

constexpr size_t kGap = 2;  // blanks between columns

std::string without_trailing_blanks(std::string line) {
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

}  // namespace

void TextTable::add(std::vector<std::string> row) {
  constexpr size_t kLongest = 400;  // one long cell makes every row as wide
  for (std::string& cell : row) cell = printable(cell, kLongest);
  rows_.push_back(std::move(row));
}

std::vector<size_t> TextTable::widths_within(size_t width) const {
  std::vector<size_t> widths(rows_.front().size());
  for (const auto& row : rows_)
    for (size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], text_width(row[c]));
  size_t total = std::accumulate(widths.begin(), widths.end(), kGap * (widths.size() - 1));
  for (; total > width; --total) {
    size_t& widest = *std::ranges::max_element(widths);
    if (widest <= 1) break;
    --widest;
  }
  return widths;
}

std::string TextTable::str(size_t width) const {
  const std::vector<size_t> widths = widths_within(width);
  std::string out;
  for (size_t r = 0; r < rows_.size(); ++r) {
    std::vector<std::vector<std::string>> cells;  // each in lines
    size_t height = 0;
    for (size_t c = 0; c < widths.size(); ++c) {
      cells.push_back(wrapped(rows_[r][c], widths[c]));
      height = std::max(height, cells.back().size());
    }
    for (size_t i = 0; i < height; ++i) {
      std::string line;
      for (size_t c = 0; c < cells.size(); ++c) {
        const std::string text = i < cells[c].size() ? cells[c][i] : "";
        const std::string blanks(widths[c] - text_width(text), ' ');
        const bool left = c == 0 || others_ == Align::left;
        if (c > 0) line.append(kGap, ' ');
        line.append(left ? text : blanks).append(left ? blanks : text);
      }
      out += without_trailing_blanks(std::move(line)) + '\n';
    }
    if (r == 0)
      out += std::string(std::accumulate(widths.begin(), widths.end(), kGap * (widths.size() - 1)), '-') + '\n';
  }
  return out;
}

}  // namespace thimble::detail
