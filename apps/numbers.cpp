#include "apps/numbers.h"

#include <charconv>
#include <cmath>
#include <cstdio>

namespace thimble::apps {

std::string fixed(double value, int digits) {
  if (std::isnan(value)) return "nan";  // which may have a sign, and it means nothing
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

std::optional<std::vector<int64_t>> sizes_in(std::string_view text) {
  std::vector<int64_t> sizes;
  for (const char *at = text.data(), *end = at + text.size();; ++at) {
    const auto [rest, error] = std::from_chars(at, end, sizes.emplace_back());
    if (error != std::errc() || (rest != end && *rest != ',')) return std::nullopt;
    if (rest == end) return sizes;
    at = rest;
  }
}

}  // namespace thimble::apps
