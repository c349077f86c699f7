// What people should know though the work goes on.
#pragma once

#include <string>

namespace thimble::apps {

/// One line on standard error, "thimble: warning: <message>".
void warn(const std::string& message);

}  // namespace thimble::apps
