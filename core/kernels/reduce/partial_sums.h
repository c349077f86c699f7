// Sums over a batch, made by several threads, and of many terms.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include <thimble/core/kernels/reduce/shards.h>
#include <thimble/core/kernels/scratch.h>
#include <thimble/core/memory.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

/// total [size] = the sum of what sum(begin, end, sums) writes to sums [size] for the shards of [0, n) (see Shards), on
/// several threads where these are worth `grain` or more.
template <typename T, typename Sum>
void sum_in_shards(int64_t n, int64_t grain, int64_t size, T* total, Sum&& sum) {
  const Shards shards(n);
  if (shards.count() == 0) return static_cast<void>(std::fill_n(total, size, T{0}));
  // A thread adds up a branch of the tree, or several of one shard, if their number is no power of two.
  const int64_t threads = std::min(std::clamp<int64_t>(n / grain, 1, num_threads()), shards.count());
  int64_t width = std::has_single_bit(static_cast<uint64_t>(threads)) ? kBatchShards : 1;
  const auto branches = [&] { return (shards.count() + width - 1) / width; };
  while (width > 1 && branches() < threads) width /= 2;
  const int64_t used = branches();
  const int64_t levels = std::bit_width(static_cast<uint64_t>(width));
  const std::shared_ptr<void> memory = allocate(static_cast<size_t>((used * levels - 1) * size) * sizeof(T));
  const auto sums_of = [total, size, levels, others = static_cast<T*>(memory.get())](int64_t branch, int64_t level) {
    return branch + level == 0 ? total : others + (branch * levels + level - 1) * size;
  };
  const auto add_to = [](T* to, const T* from, int64_t count) {
    for (int64_t i = 0; i < count; ++i) to[i] += from[i];
  };
  parallel_for(used, std::max<int64_t>(1, used / threads), [&](int64_t begin, int64_t end) {
    for (int64_t branch = begin; branch < end; ++branch)
      shards.add_up(
          [&](int64_t shard, int level) { sum(shards.begin(shard), shards.end(shard), sums_of(branch, level)); },
          [&](int level) { add_to(sums_of(branch, level), sums_of(branch, level + 1), size); }, branch * width, width);
  });
  constexpr int64_t kElements = 16384;  // worth another thread
  parallel_for(size, kElements, [&](int64_t begin, int64_t end) {
    for (int64_t step = 1; step < used; step *= 2)
      for (int64_t branch = 0; branch + step < used; branch += 2 * step)
        add_to(sums_of(branch, 0) + begin, sums_of(branch + step, 0) + begin, end - begin);
  });
}

/// Sums [size] of very many terms, added up in parts: a running sum loses the digits of terms that are much smaller
/// than it has become.
template <typename T>
class SumInParts {
 public:
  /// Writes total, in parts of at most `most` terms. Uses ScratchUse::sums if there is more than one.
  SumInParts(T* total, int64_t size, int64_t most) : total_(total), part_(total), size_(size), most_(most) {}

  /// Where terms are to be added, or, if nothing has been written there yet, their sums to be written.
  struct Part {
    T* sums;
    bool is_new;
  };

  /// The part for the next `terms` terms: fewer than `most`, or a part of their own.
  Part next(int64_t terms) {
    if (count_ > 0 && count_ + terms > most_) {
      if (part_ == total_)
        part_ = thread_scratch_of<T>(ScratchUse::sums, size_);  // the first part has nothing to be added to
      else
        add_part();
      count_ = 0;
    }
    count_ += terms;
    return {part_, count_ == terms};
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
