// Copying rows of bytes that lie apart: parts of pixels, of lines, of matrices.
#pragma once

#include <cstdint>

namespace thimble::kernels {

/// Copies `rows` rows of so many bytes, on the calling thread. They begin from_step and to_step bytes apart; those of a
/// pixel's channels are short, and there are many. Source and target must not overlap.
void copy_rows(const void* from, int64_t from_step, void* to, int64_t to_step, int64_t bytes, int64_t rows);

}  // namespace thimble::kernels
