// How an elementwise kernel walks strided arrays: dimensions in the order in which the output lies in memory, merged
// where they are dense in every operand, and the kernel sees one row at a time with a stride for each operand. A
// broadcast operand has stride 0.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <utility>

#include <thimble/core/ndarray.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

/// The shape common to N operands (same shapes, broadcast already done) with as few dimensions as their strides allow.
/// The last operand is the output.
template <int N>
struct StridedPlan {
  Shape shape;
  std::array<Shape, N> strides;  ///< in elements

  StridedPlan(const Shape& full, const std::array<const Shape*, N>& operand_strides) {
    for (int64_t dim : in_order_of(*operand_strides[N - 1])) {
      const int d = static_cast<int>(dim);
      if (full[d] == 1) continue;
      const int last = shape.ndim() - 1;
      bool merge = last >= 0;
      for (int i = 0; i < N && merge; ++i) merge = strides[i][last] == (*operand_strides[i])[d] * full[d];
      if (merge) {
        shape[last] *= full[d];
        for (int i = 0; i < N; ++i) strides[i][last] = (*operand_strides[i])[d];
      } else {
        shape.push_back(full[d]);
        for (int i = 0; i < N; ++i) strides[i].push_back((*operand_strides[i])[d]);
      }
    }
    if (shape.empty()) {
      shape.push_back(1);
      for (int i = 0; i < N; ++i) strides[i].push_back(1);
    }
  }

  /// Calls row(offsets, n) for every innermost row, offsets and the strides of the row (inner(i)) in elements. Parallel
  /// over rows, or within the row if there is but one, in pieces of at least `grain` elements.
  template <typename Row>
  void for_each_row(int64_t grain, Row&& row) const {
    const int64_t n = shape.back();
    int64_t rows = 1;
    for (int d = 0; d + 1 < shape.ndim(); ++d) rows *= shape[d];
    if (rows == 0 || n == 0) return;
    if (rows == 1) {
      parallel_for(n, grain, [&](int64_t begin, int64_t end) {
        std::array<int64_t, N> offsets;
        for (int i = 0; i < N; ++i) offsets[i] = begin * inner(i);
        row(offsets, end - begin);
      });
      return;
    }
    parallel_for(rows, std::max<int64_t>(1, grain / n), [&](int64_t begin, int64_t end) {
      Shape index = unravel(begin);
      for (int64_t r = begin; r < end; ++r) {
        std::array<int64_t, N> offsets{};
        for (int d = 0; d < index.ndim(); ++d)
          for (int i = 0; i < N; ++i) offsets[i] += index[d] * strides[i][d];
        row(offsets, n);
        for (int d = index.ndim() - 1; d >= 0 && ++index[d] == shape[d]; --d) index[d] = 0;
      }
    });
  }

  int64_t inner(int operand) const { return strides[operand].back(); }

 private:
  // Dimensions from the one with the largest stride to the one with the smallest.
  static Shape in_order_of(const Shape& strides) {
    Shape dims;
    for (int d = 0; d < strides.ndim(); ++d) dims.push_back(d);
    // An insertion sort: it keeps the order of equal strides, and there are but a few, in order already as a rule.
    auto stride = [&](int i) { return std::abs(strides[static_cast<int>(dims[i])]); };
    for (int i = 1; i < dims.ndim(); ++i)
      for (int j = i; j > 0 && stride(j - 1) < stride(j); --j) std::swap(dims[j - 1], dims[j]);
    return dims;
  }

  Shape unravel(int64_t row) const {
    Shape index = Shape::filled(shape.ndim() - 1, 0);
    for (int d = index.ndim() - 1; d >= 0; --d) {
      index[d] = row % shape[d];
      row /= shape[d];
    }
    return index;
  }
};

/// Elements that are worth handing to another thread.
inline constexpr int64_t kElementwiseGrain = 32768;

}  // namespace thimble::kernels
