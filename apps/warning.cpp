#include "apps/warning.h"

#include <iostream>

#include <unistd.h>

#include <thimble/core/text.h>

namespace thimble::apps {

void warn(const std::string& message) {
  const char* clear = isatty(STDERR_FILENO) == 1 ? "\r\x1b[K" : "";  // of a progress bar
  std::cerr << clear << "thimble: warning: " << detail::printable(message) << '\n';
}

}  // namespace thimble::apps
