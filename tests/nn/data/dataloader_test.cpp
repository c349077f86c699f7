#include <algorithm>
#include <atomic>
#include <filesystem>
#include <map>
#include <numeric>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/forked.h"
#include <thimble/core/memory.h>
#include <thimble/nn/data/dataloader.h>
#include <thimble/nn/data/tensor_dataset.h>

namespace thimble::data {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

/// Image i is [i, i + 0.5], its label i; example `bad` throws.
class Counting : public Dataset {
 public:
  explicit Counting(int64_t n, int64_t bad = -1) : n_(n), bad_(bad) {}
  int64_t size() const override { return n_; }
  int64_t batches_made() const { return batches_made_; }

 private:
  Batch make(std::span<const int64_t> indices, const Generator&) const override {
    NDArray images({std::ssize(indices), 2}), labels({std::ssize(indices)}, DType::int64);
    for (size_t i = 0; i < indices.size(); ++i) {
      check<IOError>(indices[i] != bad_, "example ", bad_, " is bad");
      images.data<float>()[2 * i] = static_cast<float>(indices[i]);
      images.data<float>()[2 * i + 1] = static_cast<float>(indices[i]) + 0.5f;
      labels.data<int64_t>()[i] = indices[i];
    }
    ++batches_made_;
    return Batch({{"image", images}, {"label", labels}});
  }

  int64_t n_, bad_;
  mutable std::atomic<int64_t> batches_made_ = 0;
};

using Batches = std::vector<std::vector<int64_t>>;

// The labels of each batch of one epoch; checks that the images belong to them.
Batches run(DataLoader& loader) {
  Batches seen;
  for (auto& [images, labels] : loader) {
    seen.push_back(labels.data().to_vector<int64_t>());
    EXPECT_EQ(images.shape(), (Shape{labels.numel(), 2}));
    for (int64_t i = 0; i < labels.numel(); ++i)
      EXPECT_EQ(images.data().data<float>()[2 * i + 1], static_cast<float>(seen.back()[static_cast<size_t>(i)]) + 0.5f);
  }
  return seen;
}

Batches run(DataLoader&& loader) { return run(loader); }

std::vector<int64_t> joined(const Batches& batches) {
  std::vector<int64_t> all;
  for (const auto& batch : batches) all.insert(all.end(), batch.begin(), batch.end());
  return all;
}

std::vector<int64_t> first_numbers(int64_t n) {
  std::vector<int64_t> v(static_cast<size_t>(n));
  std::iota(v.begin(), v.end(), 0);
  return v;
}

TEST(DataLoader, CoversEachExampleOnceInBatchesOfTheSizeAskedFor) {
  for (int64_t n : {0, 1, 5, 12, 13}) {
    const Counting data(n);
    for (int64_t batch_size : {1, 3, 4, 100}) {
      for (bool shuffle : {false, true}) {
        for (bool drop_last : {false, true}) {
          DataLoader loader(data, {.batch_size = batch_size, .shuffle = shuffle, .seed = 3, .drop_last = drop_last});
          const Batches batches = run(loader);
          EXPECT_EQ(static_cast<int64_t>(batches.size()), loader.size());
          EXPECT_EQ(loader.size(), drop_last ? n / batch_size : (n + batch_size - 1) / batch_size);
          for (size_t b = 0; b + 1 < batches.size(); ++b)
            EXPECT_EQ(static_cast<int64_t>(batches[b].size()), batch_size);
          std::vector<int64_t> all = joined(batches);
          EXPECT_EQ(static_cast<int64_t>(all.size()), drop_last ? n - n % batch_size : n);
          if (!shuffle) {
            EXPECT_EQ(all, first_numbers(static_cast<int64_t>(all.size())));
          }
          EXPECT_EQ(std::set<int64_t>(all.begin(), all.end()).size(), all.size());
        }
      }
    }
  }
}

TEST(DataLoader, GivesTheSameBatchesWhateverIsPrefetched) {
  const Counting data(101);
  Batches first;
  for (int prefetch : {0, 1, 2, 7, 1000}) {
    const Batches batches = run(DataLoader(data, {.batch_size = 8, .shuffle = true, .seed = 5, .prefetch = prefetch}));
    if (first.empty()) first = batches;
    EXPECT_EQ(batches, first) << "prefetch " << prefetch;
  }
}

TEST(DataLoader, GivesTheSameBatchesWhoeverMakesThem) {
  const Counting data(101);
  const auto batches_of = [&](int64_t workers, int64_t prefetch) {
    return run(
        DataLoader(data, {.batch_size = 3, .shuffle = true, .seed = 5, .prefetch = prefetch, .workers = workers}));
  };
  const Batches first = batches_of(1, 0);
  for (const int64_t workers : {1, 2, 5, 50})
    for (const int64_t prefetch : {0, 1, 4, 100}) EXPECT_EQ(batches_of(workers, prefetch), first) << workers;
}

// Whatever a number is drawn for, it is that of the example in this epoch.
TEST(DataLoader, ExamplesDrawBySeedAndEpochAlone) {
  const FunctionDataset data(20, [](int64_t i, Generator& random) {
    return Example{{"number", NDArray::full({}, static_cast<double>(i), DType::int64)},
                   {"draw", NDArray::full({}, random.uniform())}};
  });
  using Draws = std::map<int64_t, float>;
  const auto draws_of = [](DataLoader& loader) {
    Draws draws;
    for (auto& [numbers, values] : loader)
      for (int64_t i = 0; i < numbers.numel(); ++i)
        draws[numbers.data().data<int64_t>()[i]] = values.data().data<float>()[i];
    return draws;
  };
  DataLoader loader(data, {.batch_size = 4, .shuffle = true, .seed = 7});
  const Draws first = draws_of(loader), second = draws_of(loader);
  EXPECT_EQ(first.size(), 20u);
  for (const auto& [number, draw] : first) EXPECT_NE(draw, second.at(number));
  DataLoader others(data, {.batch_size = 7, .seed = 7, .workers = 3});
  EXPECT_EQ(draws_of(others), first);
  DataLoader resumed(data, {.batch_size = 4, .shuffle = true, .seed = 7});
  resumed.set_epoch(1);
  resumed.skip(2);
  const Draws rest = draws_of(resumed);
  EXPECT_EQ(rest.size(), 12u);
  for (const auto& [number, draw] : rest) EXPECT_EQ(draw, second.at(number));
  DataLoader reseeded(data, {.batch_size = 4, .seed = 8});
  EXPECT_NE(draws_of(reseeded), first);
}

// What lambdas draw from the default generator, as dropout does, is that of the batch, whoever makes it, and the
// caller's own numbers are as if none had been drawn.
TEST(DataLoader, TheDefaultGeneratorIsEachBatchsOwn) {
  const FunctionDataset data(12, [](int64_t) {
    return Example{{"draw", NDArray::full({}, default_generator().uniform())}};
  });
  const auto draws_of = [&](DataLoader& loader) {
    std::vector<float> draws;
    for (auto& batch : loader)
      for (const float draw : batch["draw"].data().to_vector<float>()) draws.push_back(draw);
    return draws;
  };
  manual_seed(5);
  const double expected = Generator(default_generator()).uniform();
  std::vector<std::vector<float>> epochs;
  for (const int64_t prefetch : {0, 1, 4}) {
    for (const int64_t workers : {1, 3}) {
      DataLoader loader(data, {.batch_size = 3, .seed = 1, .prefetch = prefetch, .workers = workers});
      const std::vector<float> first = draws_of(loader), second = draws_of(loader);
      EXPECT_NE(first, second);
      EXPECT_EQ(std::set<float>(first.begin(), first.end()).size(), 12u);
      epochs.push_back(first);
      EXPECT_EQ(first, epochs[0]) << prefetch << ' ' << workers;
    }
  }
  EXPECT_EQ(default_generator().uniform(), expected);
}

TEST(DataLoader, KeepsASharedDataset) {
  DataLoader loader(std::make_shared<Counting>(5), {.batch_size = 2});
  EXPECT_EQ(joined(run(loader)), first_numbers(5));
  EXPECT_THROW(DataLoader(std::shared_ptr<const Dataset>()), ValueError);
}

TEST(DataLoader, ABeginThatFailsIsNoEpoch) {
  const Counting data(20, 9);
  DataLoader loader(data, {.batch_size = 2});
  loader.set_epoch(5);
  loader.skip(4);
  EXPECT_THROW(loader.begin(), IOError);
  EXPECT_EQ(loader.epoch(), 5);
  EXPECT_THROW(loader.begin(), IOError);
}

TEST(DataLoader, ShufflesBySeedAndEpoch) {
  const Counting data(50);
  auto epochs = [&](uint64_t seed) {
    DataLoader loader(data, {.batch_size = 50, .shuffle = true, .seed = seed});
    return Batches{joined(run(loader)), joined(run(loader)), joined(run(loader))};
  };
  const Batches a = epochs(1), b = epochs(2);
  EXPECT_EQ(a, epochs(1));
  std::set<std::vector<int64_t>> orders(a.begin(), a.end());
  orders.insert(b.begin(), b.end());
  orders.insert(first_numbers(50));
  EXPECT_EQ(orders.size(), 7u);
}

TEST(DataLoader, GoesOnFromTheMiddleOfAnEpoch) {
  const Counting data(30);
  const DataLoaderOptions options{.batch_size = 4, .shuffle = true, .seed = 9};
  DataLoader straight(data, options);
  run(straight);
  EXPECT_EQ(straight.epoch(), 1);
  const Batches second = run(straight), third = run(straight);

  DataLoader resumed(data, options);
  resumed.set_epoch(1);
  resumed.skip(3);
  EXPECT_EQ(run(resumed), Batches(second.begin() + 3, second.end()));
  EXPECT_EQ(run(resumed), third);
  resumed.skip(1000);
  EXPECT_TRUE(run(resumed).empty());
}

TEST(DataLoader, LimitTakesTheFirstOfTheOrder) {
  const Counting data(40);
  EXPECT_EQ(run(DataLoader(data, {.batch_size = 4, .limit = 6})), (Batches{{0, 1, 2, 3}, {4, 5}}));
  EXPECT_TRUE(run(DataLoader(data, {.limit = 0})).empty());
  EXPECT_EQ(run(DataLoader(data, {.limit = 1000})).size(), 40u);
  const auto whole = joined(run(DataLoader(data, {.shuffle = true, .seed = 4})));
  const auto part = joined(run(DataLoader(data, {.shuffle = true, .seed = 4, .limit = 11})));
  EXPECT_EQ(part, std::vector<int64_t>(whole.begin(), whole.begin() + 11));
}

int64_t threads_now() {
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return std::distance(begin(tasks), end(tasks));
}

TEST(DataLoader, AbandonedIterationsEndTheirThread) {
  const Counting data(1000);
  const int64_t before = threads_now();
  for (int prefetch : {0, 1, 3}) {
    for (int round = 0; round < 50; ++round) {
      DataLoader loader(data, {.batch_size = 2, .prefetch = prefetch, .workers = 1 + round % 3});
      int seen = 0;
      for (auto& batch : loader) {
        EXPECT_EQ(batch["label"].numel(), 2);
        if (seen++ == round % 5) break;
      }
      loader.begin();  // let go of at once
      auto it = loader.begin();
      it = loader.begin();
      EXPECT_EQ((*it)["label"].data().data<int64_t>()[1], 1);
    }
    EXPECT_EQ(threads_now(), before);
  }
}

TEST(DataLoader, PreparesNoMoreThanItMay) {
  const Counting data(100);
  for (const int64_t workers : {1, 2, 5}) {
    const int64_t before = data.batches_made();
    DataLoader loader(data, {.prefetch = 3, .workers = workers});
    int64_t seen = 0;
    for ([[maybe_unused]] auto& batch : loader) {
      ++seen;
      EXPECT_LE(data.batches_made() - before, seen + std::max<int64_t>(3, workers));
    }
    EXPECT_EQ(data.batches_made() - before, 100);
  }
}

TEST(DataLoader, ThrowsWhatTheDatasetThrowsAtItsBatch) {
  const Counting data(20, 9);
  for (int prefetch : {0, 1, 4}) {
    DataLoader loader(data, {.batch_size = 2, .prefetch = prefetch, .workers = 1 + prefetch / 2});
    Batches seen;
    EXPECT_THAT(
        [&] {
          for (auto& batch : loader) seen.push_back(batch["label"].data().to_vector<int64_t>());
        },
        ThrowsMessage<IOError>(HasSubstr("example 9 is bad")));
    EXPECT_EQ(joined(seen), first_numbers(8));
  }
}

TEST(DataLoader, BodiesThatThrowLeaveItUsable) {
  const Counting data(20);
  DataLoader loader(data, {.batch_size = 2});
  EXPECT_THROW(
      {
        for ([[maybe_unused]] auto& batch : loader) throw ValueError("body");
      },
      ValueError);
  EXPECT_EQ(joined(run(loader)), first_numbers(20));
}

TEST(DataLoader, KeepsToTheCachedMemory) {
  const Counting data(64);
  DataLoader loader(data, {.batch_size = 2, .prefetch = 2});
  // An upper bound of what lives at once: the batches in the ring, the one being made, the one in use.
  std::vector<Batch> alive;
  for (int i = 0; i < 4; ++i) alive.push_back(data.batch(std::vector<int64_t>{0, 1}));
  alive.clear();
  const size_t before = cached_bytes();
  run(loader);
  EXPECT_EQ(cached_bytes(), before);
}

TEST(DataLoader, AForkedChildGoesOnFromTheBatchThatWasTakenLast) {
  SKIP_WHERE_CHILDREN_MAY_HANG();
  const Counting data(40);
  for (int64_t taken : {1, 3, 9}) {
    DataLoader loader(data, {.batch_size = 4, .shuffle = true, .prefetch = 3, .workers = 1 + taken / 2 % 2});
    DataLoader other(data, {.batch_size = 4, .shuffle = true});
    const Batches expected = run(other);
    auto it = loader.begin();
    for (int64_t i = 1; i < taken; ++i) ++it;
    const int status = status_of_child([&] {
      Batches seen;
      for (; it != loader.end(); ++it) seen.push_back((*it)["label"].data().to_vector<int64_t>());
      return seen == Batches(expected.begin() + taken - 1, expected.end());
    });
    EXPECT_EQ(status, 0) << "after " << taken;
    EXPECT_EQ(status_of_child([&] {
                const auto gone = std::move(it);
                return true;
              }),
              0)
        << "one that does not want the rest";
    for (; it != loader.end(); ++it) ++taken;
    EXPECT_EQ(taken, 11) << "the parent goes on";
  }
}

TEST(DataLoader, RejectsBadOptions) {
  const Counting data(3);
  EXPECT_THROW(DataLoader(data, {.batch_size = 0}), ValueError);
  EXPECT_THROW(DataLoader(data, {.limit = -2}), ValueError);
  EXPECT_THROW(DataLoader(data, {.prefetch = -1}), ValueError);
  EXPECT_THROW(DataLoader(data, {.workers = 0}), ValueError);
  DataLoader loader(data);
  EXPECT_THROW(loader.set_epoch(-1), ValueError);
  EXPECT_THROW(loader.skip(-1), ValueError);
}

}  // namespace
}  // namespace thimble::data
