// Numbers as people read them.
#pragma once

#include <cstdint>
#include <string>

namespace thimble::apps {

/// 12.3456 -> "12.35" for two digits.
std::string fixed(double value, int digits);
/// 1486858 -> "1,486,858"
std::string with_commas(int64_t value);

}  // namespace thimble::apps
