#include <algorithm>

#include <thimble/core/text_wrap.h>

namespace thimble::detail {

namespace {

bool begins_character(char c) { return (c & 0xC0) != 0x80; }  // of UTF-8

// Bytes of the first `width` characters.
size_t bytes_of(std::string_view text, size_t width) {
  size_t at = 0;
  for (; at < text.size(); ++at)
    if (begins_character(text[at]) && width-- == 0) break;
  return at;
}

// Where to break a word that is longer than a line.
size_t break_within(std::string_view word, size_t width) {
  const size_t most = bytes_of(word, width);
  const size_t mark = word.substr(0, most).find_last_of(",./_-=");
  return mark == std::string_view::npos ? most : mark + 1;
}

}  // namespace

size_t text_width(std::string_view text) { return static_cast<size_t>(std::ranges::count_if(text, begins_character)); }

std::vector<std::string> wrapped(std::string_view text, size_t width) {
  if (text_width(text) <= width) return {std::string(text)};
  width = std::max<size_t>(width, 1);
  std::vector<std::string> lines{""};
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (word.empty()) continue;
    if (!lines.back().empty() && text_width(lines.back()) + 1 + text_width(word) > width) lines.emplace_back();
    for (; text_width(word) > width; lines.emplace_back()) {
      const size_t part = break_within(word, width);
      lines.back() = word.substr(0, part);
      word.remove_prefix(part);
    }
    if (!lines.back().empty()) lines.back() += ' ';
    lines.back() += word;
  }
  return lines;
}

}  // namespace thimble::detail
