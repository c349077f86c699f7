// Numbers as people read them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace thimble::apps {

/// 12.3456 -> "12.35" for two digits.
std::string fixed(double value, int digits);
/// 1486858 -> "1,486,858"
std::string with_commas(int64_t value);
/// "3,224,224" -> {3, 224, 224}; none for text of another form.
std::optional<std::vector<int64_t>> sizes_in(std::string_view text);

}  // namespace thimble::apps
