// How the rows of a recurrent layer's batch are divided among threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include <thimble/core/parallel.h>

namespace thimble::kernels {

/// The time step that the i-th to be made is of.
inline int64_t step_time(int64_t i, int64_t steps, bool reverse) { return reverse ? steps - 1 - i : i; }

/// Calls run(task, first row, rows) for parts of each direction's n rows, on several threads where that is worth it.
template <typename Task, typename Run>
void divide_rows(std::span<const Task> directions, int64_t n, int64_t work_per_row, Run&& run) {
  constexpr int64_t kRowsPerThread = 4;  // fewer read the weights more than they multiply
  constexpr int64_t kWork = 200'000;     // multiply-adds worth another thread
  constexpr int64_t kMostRows = 64;      // at a time: what they need stays in cache
  const int64_t least = std::max(kRowsPerThread, kWork / std::max<int64_t>(1, work_per_row) + 1);
  parallel_for(static_cast<int64_t>(directions.size()) * n, std::min(n, least), [&](int64_t begin, int64_t end) {
    while (begin < end) {
      const int64_t row = begin % n, rows = std::min({n - row, end - begin, kMostRows});
      run(directions[static_cast<size_t>(begin / n)], row, rows);
      begin += rows;
    }
  });
}

}  // namespace thimble::kernels
