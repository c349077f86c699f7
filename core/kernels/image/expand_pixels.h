// Transposed convolutions whose windows neither overlap nor leave gaps: kernel and stride are the same.
#pragma once

#include <cstdint>
#include <vector>

#include <thimble/core/kernels/gemm/packed_gemm.h>

namespace thimble::kernels {

/// Images [batch, height, width, in] become [batch, height * patch_height, width * patch_width, out].
struct PixelExpansion {
  int64_t batch, height, width, in, out, patch_height, patch_width;
};

/// Pixel (i, j) of each patch is the pixel of x times taps[i * patch_width + j], an [in, out] matrix, and then the
/// epilogue. Threaded; an output's bits depend on its own pixel alone.
void expand_pixels(const PixelExpansion& g, const float* x, const std::vector<PackedMatrix>& taps, float* y,
                   const Epilogue<float>& epilogue);

}  // namespace thimble::kernels
