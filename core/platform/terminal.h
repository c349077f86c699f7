// What a terminal is like. Internal to the library and its program.
#pragma once

#include <cstddef>

#include <thimble/core/api.h>

namespace thimble::detail {

/// Columns of the terminal that this file descriptor is, at least 20; 80 if it is none.
THIMBLE_API size_t terminal_width(int fd);

}  // namespace thimble::detail
