// Text that came from a file or a user, made fit for a terminal and a one-line message. Internal to the
// library and its program.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

#include <thimble/core/api.h>

namespace thimble::detail {

/// True if `text` is well-formed UTF-8 (Unicode, table 3-7).
bool is_utf8(std::string_view text);

/// `text` on one line and safe to print: control characters, line separators, characters that change the direction of
/// text and bytes that are not UTF-8 are escaped, and what goes beyond `limit` bytes is cut off and replaced by "...".
THIMBLE_API std::string printable(std::string_view text, size_t limit = std::string::npos);

/// The same in single quotes.
THIMBLE_API std::string quote(std::string_view text, size_t limit = 80);

/// A path in single quotes, never shortened.
THIMBLE_API std::string quote_path(const std::filesystem::path& path);

}  // namespace thimble::detail
