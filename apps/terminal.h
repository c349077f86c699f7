// What a terminal is like.
#pragma once

#include <cstddef>

namespace thimble::apps {

/// Columns of the terminal that this file descriptor is, at least 20; 80 if it is none.
size_t terminal_width(int fd);

}  // namespace thimble::apps
