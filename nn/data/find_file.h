// A dataset's file in its folder. Internal to the library and its program.
#pragma once

#include <string>

#include <thimble/core/api.h>

namespace thimble::data {

/// The path of the plain or the compressed file, `name` or `name`.gz. Throws IOError, which ends with `remedy`, if
/// there is neither.
THIMBLE_API std::string find_file(const std::string& folder, const std::string& name, const std::string& remedy);

}  // namespace thimble::data
