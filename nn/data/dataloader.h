// DataLoader: a dataset in batches, shuffled by seed, prepared ahead by threads.
//
//   data::DataLoader loader(train, {.batch_size = 64, .shuffle = true, .seed = 1});
//   for (int epoch = 0; epoch < 3; ++epoch)
//     for (auto& [images, labels] : loader) net(images);
#pragma once

#include <iterator>
#include <memory>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/nn/compiler_messages.h>
#include <thimble/nn/data/dataset.h>
#include <thimble/nn/data/transforms.h>

namespace thimble::data {

/// How a DataLoader divides and orders the examples.
struct THIMBLE_API DataLoaderOptions {
  int64_t batch_size = 1;
  bool shuffle = false;
  uint64_t seed = 0;       ///< of the shuffled order, and of what examples draw at random
  bool drop_last = false;  ///< leave out a last batch that is not full
  int64_t limit = -1;      ///< use only the first so many examples of each epoch's order; -1: all
  int64_t prefetch = 2;    ///< batches prepared ahead, at least one for each worker; 0: none, and no thread
  int64_t workers = 1;     ///< threads that prepare them
  /// If given, changes each batch, see nn/data/transforms.h. What it draws follows from the seed, the epoch's and the
  /// batch's number.
  BatchTransform transform = {};
};

/// Each begin() is one epoch. An epoch's order depends on the seed, the epoch's number and the dataset's size alone,
/// what an example draws at random on the seed, the epoch's number and its own.
class THIMBLE_API DataLoader {
  class Epoch;

 public:
  /// A dataset that is not shared must outlive the loader and its iterators. Throws ValueError for options out of
  /// range.
  explicit DataLoader(const Dataset& dataset, const DataLoaderOptions& options = {});
  /// Keeps the dataset. Throws ValueError if there is none.
  explicit DataLoader(std::shared_ptr<const Dataset> dataset, const DataLoaderOptions& options = {});
  explicit DataLoader(const Dataset&&, const DataLoaderOptions& = {}) = delete;
  template <typename Slip = detail::NotAnOptionOf<DataLoaderOptions>>
  DataLoader(const Dataset& dataset, ...) = delete;

  /// An input iterator that owns its epoch: letting go of it ends the epoch's threads. What the dataset throws is
  /// thrown by begin() or ++, at the batch that it concerns; the iteration is over then.
  class Iterator {
   public:
    using value_type = Batch;
    using difference_type = std::ptrdiff_t;

    Iterator(Iterator&&) noexcept;
    Iterator& operator=(Iterator&&) noexcept;
    ~Iterator();

    Batch& operator*() { return batch_; }
    Batch* operator->() { return &batch_; }
    Iterator& operator++();
    void operator++(int) { ++*this; }
    friend bool operator==(const Iterator& it, std::default_sentinel_t) { return !it.epoch_; }

   private:
    friend class DataLoader;
    explicit Iterator(std::unique_ptr<Epoch> epoch);

    std::unique_ptr<Epoch> epoch_;  // null at the end
    Batch batch_;
  };

  /// Starts the epoch epoch(), and moves epoch() on by one.
  Iterator begin();
  std::default_sentinel_t end() const { return {}; }

  /// Batches in an epoch.
  int64_t size() const;

  /// The number of the epoch that the next begin() starts; 0 at first.
  int64_t epoch() const { return epoch_; }
  /// Throws ValueError for a negative number.
  void set_epoch(int64_t epoch);
  /// Lets the next begin() leave out its epoch's first `batches` batches, as a run that goes on from the middle does.
  /// Throws ValueError for a negative number.
  void skip(int64_t batches);

 private:
  Generator random() const;  // of the epoch
  std::vector<int64_t> order() const;

  std::shared_ptr<const Dataset> dataset_;  // which may own nothing
  DataLoaderOptions options_;
  int64_t examples_;  // in an epoch
  int64_t epoch_ = 0;
  int64_t skip_ = 0;
};

}  // namespace thimble::data
