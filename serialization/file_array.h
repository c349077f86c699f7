// Arrays over the bytes of a file, mapped or read, that is not trusted. Internal to serialization.
#pragma once

#include <cstddef>
#include <memory>

#include <thimble/core/ndarray.h>

namespace thimble::detail {

/// Whether the bytes of an array of this shape can be counted in int64. Zero sizes count as one: strides, too, are
/// products of sizes and must not overflow.
bool size_fits(const Shape& shape, size_t itemsize);

/// A row-major array over memory that `owner` keeps alive; a copy where the memory is not aligned for the dtype, or
/// holds other bytes than 0 and 1 for bool: those are true. The memory must hold the whole array.
NDArray array_over(std::byte* data, const Shape& shape, DType dtype, const std::shared_ptr<void>& owner);

}  // namespace thimble::detail
