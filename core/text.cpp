#include <thimble/core/error.h>
#include <thimble/core/text.h>

namespace thimble::detail {

namespace {

// Bytes of the character that `text` begins with, 0 if it is ill-formed.
size_t character_length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first < 0xc2 || first > 0xf4) return 0;
  const size_t length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  if (text.size() < length) return 0;
  // The second byte excludes overlong forms, surrogates and what lies beyond U+10FFFF.
  const unsigned low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
  const unsigned high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
  if (byte(1) < low || byte(1) > high) return 0;
  for (size_t i = 2; i < length; ++i)
    if ((byte(i) & 0xc0u) != 0x80) return 0;
  return length;
}

// The code point of one well-formed character.
char32_t code_point(std::string_view character) {
  const auto first = static_cast<unsigned char>(character[0]);
  if (character.size() == 1) return first;
  char32_t point = first & (0x7fu >> character.size());
  for (const char c : character.substr(1)) point = point << 6 | (static_cast<unsigned char>(c) & 0x3fu);
  return point;
}

// What terminals obey, what ends a line, and what reorders the text around it.
bool is_control(char32_t c) {
  const bool c0_or_c1 = c < 0x20 || (c >= 0x7f && c < 0xa0);
  const bool separates_lines = c == 0x2028 || c == 0x2029;
  const bool sets_direction = (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
  return c0_or_c1 || separates_lines || sets_direction;
}

void append_escaped(std::string& out, std::string_view bytes) {
  constexpr char digits[] = "0123456789abcdef";
  if (bytes == "\n") {
    out += "\\n";
    return;
  }
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    out += {'\\', 'x', digits[byte >> 4], digits[byte & 15u]};
  }
}

}  // namespace

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const size_t length = character_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

std::string printable(std::string_view text, size_t limit) {
  std::string out;
  size_t used = 0;
  while (!text.empty()) {
    const size_t length = character_length(text);
    const std::string_view character = text.substr(0, length == 0 ? 1 : length);
    used += character.size();
    if (used > limit) return out + "...";
    if (length == 0 || is_control(code_point(character))) {
      append_escaped(out, character);
    } else {
      out += character;
    }
    text.remove_prefix(character.size());
  }
  return out;
}

std::string quote(std::string_view text, size_t limit) { return '\'' + printable(text, limit) + '\''; }

std::string quote_path(const std::filesystem::path& path) { return quote(path.native(), std::string::npos); }

}  // namespace thimble::detail
