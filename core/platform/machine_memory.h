// How much memory there is. Internal.
#pragma once

#include <cstddef>

namespace thimble {

/// Bytes of memory that this process may use: the machine's, or fewer if its container (cgroup) has a limit.
size_t machine_memory();

}  // namespace thimble
