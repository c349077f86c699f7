// Examples' arrays as one of a batch. Internal.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include <thimble/core/ndarray.h>

namespace thimble::data {

/// [n, shape...] of n >= 1 arrays [shape...], which are examples number `indices`. Throws ShapeError or DTypeError that
/// name field and example for one that is unlike the first.
NDArray stack_examples(std::span<const NDArray> examples, std::span<const int64_t> indices, std::string_view field);

}  // namespace thimble::data
