// Sums over a batch, made by several threads, and of many terms.
#pragma once

#include <algorithm>
#include <cstdint>

#include <thimble/core/kernels/reduce/shards.h>
#include <thimble/core/kernels/scratch.h>
#include <thimble/core/memory.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

/// total [size] = the sum of what add(begin, end, sums) adds to sums [size] for the shards of [0, n) (see Shards), on
/// several threads where these are worth `grain` or more. Each shard has sums of its own, which are added as a tree.
template <typename T, typename Add>
void sum_in_shards(int64_t n, int64_t grain, int64_t size, T* total, Add&& add) {
  const Shards shards(n);
  const int64_t count = shards.count();
  if (count == 0) return static_cast<void>(std::fill_n(total, size, T{0}));
  const std::shared_ptr<void> memory = allocate(static_cast<size_t>((count - 1) * size) * sizeof(T));
  const auto sums_of = [total, size, others = static_cast<T*>(memory.get())](int64_t shard) {
    return shard == 0 ? total : others + (shard - 1) * size;
  };
  parallel_for(count, std::max<int64_t>(1, grain / shards.size()), [&](int64_t first, int64_t last) {
    for (int64_t shard = first; shard < last; ++shard) {
      std::fill_n(sums_of(shard), size, T{0});
      add(shards.begin(shard), shards.end(shard), sums_of(shard));
    }
  });
  constexpr int64_t kElements = 16384;  // worth another thread
  parallel_for(size, kElements, [&](int64_t begin, int64_t end) {
    for (int64_t step = 1; step < count; step *= 2)
      for (int64_t shard = 0; shard + step < count; shard += 2 * step) {
        T *to = sums_of(shard), *from = sums_of(shard + step);
        for (int64_t i = begin; i < end; ++i) to[i] += from[i];
      }
  });
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
