// Text in lines of so many characters. Internal to the library and its program.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include <thimble/core/api.h>

namespace thimble::detail {

/// Characters of UTF-8 text.
THIMBLE_API size_t text_width(std::string_view text);

/// `text` in lines of at most `width` characters (at least 1), broken at blanks; within a word that is longer, behind
/// one of , . / _ - = or, where there is none, anywhere. At least one line; text that fits into it stays as it is.
THIMBLE_API std::vector<std::string> wrapped(std::string_view text, size_t width);

}  // namespace thimble::detail
