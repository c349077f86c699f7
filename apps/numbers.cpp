#include "apps/numbers.h"

#include <charconv>

namespace thimble::apps {

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
