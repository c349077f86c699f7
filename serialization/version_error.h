// The error of files from the future.
#pragma once

#include <thimble/core/api.h>
#include <thimble/core/error.h>

namespace thimble {

/// A file is of a version of its format that this program does not read; it need not be damaged.
class THIMBLE_API VersionError : public FormatError {
 public:
  using FormatError::FormatError;
};

}  // namespace thimble
