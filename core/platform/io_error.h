// How errors of the operating system are reported. Internal.
#pragma once

#include <filesystem>
#include <string_view>

#include <thimble/core/api.h>

namespace thimble::detail {

/// Throws IOError "cannot <verb> '<path>': <what errno value `error` means>; <what to do about it>".
[[noreturn]] THIMBLE_API void throw_io_error(std::string_view verb, const std::filesystem::path& path, int error);

}  // namespace thimble::detail
