// Sums over a batch whose order depends on neither threads nor machines.
#pragma once

#include <algorithm>
#include <cstdint>

namespace thimble::kernels {

/// A batch is cut into so many shards at most. A power of two: the sums of shards are added as a binary tree, so that
/// whoever computes whole shards, or whole branches of the tree, gets the same bits.
inline constexpr int64_t kBatchShards = 8;

/// The shards of a sum over n terms or samples: of equal size, but for the last ones, which may be smaller or empty.
class Shards {
 public:
  /// Sums that are there at the same time while a tree is added up: the one in the making, and those that wait for it.
  static constexpr int kLevels = 4;

  explicit Shards(int64_t n) : n_(n), size_((n + kBatchShards - 1) / kBatchShards) {}

  int64_t size() const { return size_; }
  int64_t begin(int64_t shard) const { return std::min(n_, shard * size_); }
  int64_t end(int64_t shard) const { return begin(shard + 1); }
  /// Those that are not empty.
  int64_t count() const { return size_ == 0 ? 0 : (n_ + size_ - 1) / size_; }

  /// The tree, or the branch of it that has `shards` of them, a power of two, from `first` on: sum(shard, level)
  /// computes the sum of a shard to the memory of a level; add(level) adds the sum of the level below, level + 1, to
  /// that of `level`. The result is at level 0. There must be a shard.
  template <typename Sum, typename Add>
  void add_up(Sum&& sum, Add&& add, int64_t first = 0, int64_t shards = kBatchShards) const {
    branch(first, shards, 0, sum, add);
  }

 private:
  template <typename Sum, typename Add>
  void branch(int64_t first, int64_t shards, int level, Sum&& sum, Add&& add) const {
    if (shards == 1) return sum(first, level);
    const int64_t half = shards / 2, second = first + half;
    branch(first, half, level, sum, add);
    if (second >= count()) return;
    branch(second, half, level + 1, sum, add);
    add(level);
  }

  int64_t n_, size_;
};

}  // namespace thimble::kernels
