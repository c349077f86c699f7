// Dimensions of a strided array as a reduction sees them.
#pragma once

#include <thimble/core/shape.h>

namespace thimble::kernels {

/// Dimensions with their strides, merged where they are dense in one another.
struct StridedDims {
  Shape sizes, strides;

  void add(int64_t size, int64_t stride) {
    if (size == 1) return;
    if (!sizes.empty() && strides.back() == stride * size) {
      sizes.back() *= size;
      strides.back() = stride;
      return;
    }
    sizes.push_back(size);
    strides.push_back(stride);
  }

  /// Where element number `flat`, counted in row-major order, lies.
  int64_t offset(int64_t flat) const {
    if (sizes.empty()) return 0;
    int64_t offset = 0;
    for (int d = sizes.ndim() - 1; d > 0; --d) {
      offset += flat % sizes[d] * strides[d];
      flat /= sizes[d];
    }
    return offset + flat * strides[0];
  }

  struct Loop {
    int64_t size = 1, stride = 1;
  };

  /// Takes the last dimension off: the innermost loop.
  Loop take_inner() {
    if (sizes.empty()) return {};
    const Loop inner{sizes.back(), strides.back()};
    sizes.erase(sizes.ndim() - 1);
    strides.erase(strides.ndim() - 1);
    return inner;
  }
};

}  // namespace thimble::kernels
