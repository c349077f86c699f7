// Counting values by intervals of equal width.
#pragma once

#include <cstdint>

namespace thimble::kernels {

/// Bin i holds the values from (first + i) * width up to, but without, (first + i + 1) * width, for i in [0, bins).
struct HistogramBins {
  float width;  ///< a power of two, so that products with it and its reciprocal are exact; both normal numbers
  int32_t first, bins;
};

/// counts[i] += the number of x's values in bin i, for each of b.bins. All values must lie in a bin.
void count_values(const float* x, int64_t n, const HistogramBins& b, int64_t* counts);

}  // namespace thimble::kernels
