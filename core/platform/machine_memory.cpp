#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fstream>

#include <unistd.h>

#include <thimble/core/platform/machine_memory.h>

namespace thimble {

namespace {

// The number in a file of the system's; SIZE_MAX if there is none, as where no limit is set ("max").
size_t number_in(const char* path) {
  std::ifstream file(path);
  size_t bytes = 0;
  return file >> bytes ? bytes : SIZE_MAX;
}

}  // namespace

size_t machine_memory() {
  const long pages = ::sysconf(_SC_PHYS_PAGES), page = ::sysconf(_SC_PAGESIZE);
  const size_t machine = pages > 0 && page > 0 ? static_cast<size_t>(pages) * static_cast<size_t>(page) : SIZE_MAX;
  return std::min(
      {machine, number_in("/sys/fs/cgroup/memory.max"), number_in("/sys/fs/cgroup/memory/memory.limit_in_bytes")});
}

}  // namespace thimble
