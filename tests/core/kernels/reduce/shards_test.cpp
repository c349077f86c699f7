#include <vector>

#include <gtest/gtest.h>

#include <thimble/core/kernels/reduce/partial_sums.h>
#include <thimble/core/random.h>

namespace thimble::kernels {
namespace {

// Written down once more, by pairs.
float tree_of(std::vector<float> sums) {
  while (sums.size() > 1) {
    std::vector<float> pairs;
    for (size_t i = 0; i < sums.size(); i += 2) pairs.push_back(i + 1 < sums.size() ? sums[i] + sums[i + 1] : sums[i]);
    sums = pairs;
  }
  return sums[0];
}

TEST(SumInShards, IsTheTreeOfTheShardsSumsForAnyNumberOfThreads) {
  const int before = num_threads();
  Generator rng(1);
  for (const int64_t n : {1, 2, 3, 5, 7, 8, 9, 11, 16, 17, 37, 64, 1000}) {
    const std::vector<float> x = randn({n}, rng).to_vector<float>();
    const Shards shards(n);
    EXPECT_LE(shards.count(), kBatchShards);
    std::vector<float> sums;
    for (int64_t shard = 0; shard < shards.count(); ++shard) {
      sums.push_back(0);
      for (int64_t i = shards.begin(shard); i < shards.end(shard); ++i) sums.back() += x[static_cast<size_t>(i)];
    }
    EXPECT_EQ(shards.end(shards.count() - 1), n);
    for (int threads = 1; threads <= 9; ++threads)
      for (const int64_t grain : {int64_t{1}, n}) {
        set_num_threads(threads);
        std::vector<float> total(3, -1);
        sum_in_shards<float>(n, grain, 3, total.data(), [&](int64_t begin, int64_t end, float* own) {
          std::fill_n(own, 3, 0.0f);
          for (int64_t i = begin; i < end; ++i)
            for (int j = 0; j < 3; ++j) own[j] += x[static_cast<size_t>(i)];
        });
        EXPECT_EQ(total, std::vector<float>(3, tree_of(sums))) << n << " terms, " << threads << " threads";
      }
  }
  set_num_threads(before);
}

TEST(SumInShards, OfNothingIsZero) {
  std::vector<float> total(2, 7);
  sum_in_shards<float>(0, 1, 2, total.data(), [](int64_t, int64_t, float*) { FAIL(); });
  EXPECT_EQ(total, std::vector<float>(2, 0));
}

}  // namespace
}  // namespace thimble::kernels
