// Sums over a batch, made by several threads, and of many terms.
#pragma once

#include <algorithm>
#include <cstdint>

#include <thimble/core/kernels/scratch.h>
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

/// Sums [size] of very many terms, added up in parts: a running sum loses the digits of terms that are much smaller
/// than it has become.
template <typename T>
class SumInParts {
 public:
  /// Adds to total, in parts of at most `most` terms. Uses ScratchUse::sums if there is more than one.
  SumInParts(T* total, int64_t size, int64_t most) : total_(total), part_(total), size_(size), most_(most) {}

  /// Where the next `terms` terms are to be added. Fewer than `most`, or a part of their own.
  T* next(int64_t terms) {
    if (count_ > 0 && count_ + terms > most_) {
      if (part_ == total_)
        part_ = thread_scratch_of<T>(ScratchUse::sums, size_);  // the first part has nothing to be added to
      else
        add_part();
      std::fill_n(part_, size_, T{0});
      count_ = 0;
    }
    count_ += terms;
    return part_;
  }

  void finish() {
    if (part_ != total_) add_part();
  }

 private:
  void add_part() {
    for (int64_t i = 0; i < size_; ++i) total_[i] += part_[i];
  }

  T *total_, *part_;
  int64_t size_, most_, count_ = 0;
};

}  // namespace thimble::kernels
