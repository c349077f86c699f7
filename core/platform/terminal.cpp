#include <algorithm>

#include <sys/ioctl.h>

#include <thimble/core/platform/terminal.h>

namespace thimble::detail {

size_t terminal_width(int fd) {
  constexpr size_t kUsual = 80, kLeast = 20;
  winsize size{};
  return ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? std::max<size_t>(size.ws_col, kLeast) : kUsual;
}

}  // namespace thimble::detail
