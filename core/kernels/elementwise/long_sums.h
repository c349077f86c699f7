// Sums by index: when float32 is too short for them.
#pragma once

#include <algorithm>
#include <vector>

#include <thimble/core/ndarray.h>

namespace thimble::kernels {

// Terms of a running sum in float32; those of many more lose digits, and at 2^24 equal terms no longer grow.
inline constexpr int64_t kMostFloatTerms = 4096;

/// How often the most frequent of the indices (int64 or int32, contiguous), below `size`, occurs, but for `padding`; or
/// more than that, but no more than kMostFloatTerms.
inline int64_t most_repeats(const NDArray& index, int64_t size, int64_t padding = -1) {
  if (index.numel() <= kMostFloatTerms) return index.numel();
  std::vector<int64_t> counts(static_cast<size_t>(size));
  const auto count = [&](const auto* values) {
    for (int64_t i = 0; i < index.numel(); ++i) ++counts[static_cast<size_t>(values[i])];
  };
  index.dtype() == DType::int32 ? count(index.data<int32_t>()) : count(index.data<int64_t>());
  if (padding >= 0) counts[static_cast<size_t>(padding)] = 0;
  return *std::max_element(counts.begin(), counts.end());
}

/// Calls add(elements of grad, elements of out to add to); with `widen` the sums of float32 are formed in float64.
template <typename Add>
void add_to_sums(const NDArray& grad, NDArray& out, bool widen, Add&& add) {
  if (out.dtype() == DType::float64) return add(grad.data<double>(), out.data<double>());
  if (!widen) return add(grad.data<float>(), out.data<float>());
  NDArray sums = NDArray::empty_like(out, DType::float64);
  sums.copy_from(out);
  add(grad.data<float>(), sums.data<double>());
  out.copy_from(sums);
}

}  // namespace thimble::kernels
