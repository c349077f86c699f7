#include "apps/warning.h"

#include <iostream>

#include <thimble/core/text.h>

namespace thimble::apps {

void warn(const std::string& message) { std::cerr << "thimble: warning: " << detail::printable(message) << '\n'; }

}  // namespace thimble::apps
