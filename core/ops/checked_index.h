// Arrays of indices, before anything is read or written by them. Internal.
#pragma once

#include <thimble/core/ndarray.h>

namespace thimble {

/// The index as int64 and contiguous, each entry in [0, size); with `wrap` those from -size on count from the end.
/// Throws DTypeError unless it is int64 or int32, ValueError for an entry out of range, both beginning with `op`.
NDArray checked_index(const NDArray& index, int64_t size, const char* op, bool wrap = false);

}  // namespace thimble
