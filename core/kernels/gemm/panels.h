// A product's right operand as small_gemm() reads it fastest.
#pragma once

#include <cstdint>

#include <thimble/core/kernels/gemm/gemm.h>

namespace thimble::kernels {

/// to [panels, m.rows, width] = the columns of m, `width` at a time; what the last panel lacks of them is 0. m's
/// strides may be any.
template <typename T>
void pack_panels(const MatrixView<T>& m, int64_t width, T* to);

}  // namespace thimble::kernels
