// Numbers as people read them. Internal to the library and its program.
#pragma once

#include <cstdint>
#include <string>

#include <thimble/core/api.h>

namespace thimble::detail {

/// 12.3456 -> "12.35" for two digits.
THIMBLE_API std::string fixed(double value, int digits);
/// 1486858 -> "1,486,858"
THIMBLE_API std::string with_commas(int64_t value);

}  // namespace thimble::detail
