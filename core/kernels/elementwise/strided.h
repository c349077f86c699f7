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
    for_each_block(1, grain, row);
  }

  /// Calls block(offsets, n) for every block of the last `dims` dimensions, or for n of the first of these if there is
  /// but one block.
  template <typename Block>
  void for_each_block(int dims, int64_t grain, Block&& block) const {
    const int outer = shape.ndim() - dims;
    const int64_t n = shape[outer];
    int64_t blocks = 1, each = 1;
    for (int d = 0; d < shape.ndim(); ++d) (d < outer ? blocks : each) *= shape[d];
    if (blocks == 0 || each == 0) return;
    if (blocks == 1) {
      parallel_for(n, std::max<int64_t>(1, grain / (each / n)), [&](int64_t begin, int64_t end) {
        std::array<int64_t, N> offsets;
        for (int i = 0; i < N; ++i) offsets[i] = begin * strides[i][outer];
        block(offsets, end - begin);
      });
      return;
    }
    parallel_for(blocks, std::max<int64_t>(1, grain / each), [&](int64_t begin, int64_t end) {
      Shape index = unravel(begin, outer);
      for (int64_t b = begin; b < end; ++b) {
        std::array<int64_t, N> offsets{};
        for (int d = 0; d < outer; ++d)
          for (int i = 0; i < N; ++i) offsets[i] += index[d] * strides[i][d];
        block(offsets, n);
        for (int d = outer - 1; d >= 0 && ++index[d] == shape[d]; --d) index[d] = 0;
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

  // The index of a block in the first `dims` dimensions.
  Shape unravel(int64_t block, int dims) const {
    Shape index = Shape::filled(dims, 0);
    for (int d = dims - 1; d >= 0; --d) {
      index[d] = block % shape[d];
      block /= shape[d];
    }
    return index;
  }
};

/// Elements that are worth handing to another thread.
inline constexpr int64_t kElementwiseGrain = 32768;

}  // namespace thimble::kernels
