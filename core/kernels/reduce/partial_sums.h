// Sums over a batch, made by several threads.
#pragma once

#include <algorithm>
#include <cstdint>

#include <thimble/core/memory.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

/// total [size] = the sum of what add(begin, end, sums) adds to sums [size] for pieces of [0, n), of at least `grain`
/// each. Pieces have sums of their own, which are added in order: the result depends on the number of threads, but not
/// on timing.
template <typename T, typename Add>
void sum_in_pieces(int64_t n, int64_t grain, int64_t size, T* total, Add&& add) {
  const int64_t pieces = std::clamp<int64_t>(n / grain, 1, num_threads());
  const std::shared_ptr<void> memory = allocate(static_cast<size_t>((pieces - 1) * size) * sizeof(T));
  T* others = static_cast<T*>(memory.get());
  parallel_for(pieces, 1, [&](int64_t first, int64_t last) {
    for (int64_t piece = first; piece < last; ++piece) {
      T* sums = piece == 0 ? total : others + (piece - 1) * size;
      std::fill_n(sums, size, T{0});
      add(n * piece / pieces, n * (piece + 1) / pieces, sums);
    }
  });
  for (int64_t piece = 1; piece < pieces; ++piece)
    for (int64_t i = 0; i < size; ++i) total[i] += others[(piece - 1) * size + i];
}

}  // namespace thimble::kernels
