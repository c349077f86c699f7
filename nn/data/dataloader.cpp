#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <numeric>
#include <optional>
#include <utility>

#include <thimble/core/platform/fork.h>
#include <thimble/core/random.h>
#include <thimble/nn/data/dataloader.h>

namespace thimble::data {

/// One pass over the data. A thread of its own keeps a ring of batches filled, or next() makes them if there is no
/// ring, or no thread: a forked child has none.
class DataLoader::Epoch {
 public:
  Epoch(const Dataset& dataset, std::vector<int64_t> order, size_t first, size_t batch_size, size_t prefetch)
      : dataset_(dataset), order_(std::move(order)), at_(first), batch_size_(batch_size), ring_(prefetch) {
    if (prefetch > 0) thread_.emplace([this] { produce(); });
  }

  ~Epoch() {
    leave_thread_to_parent();
    if (!thread_) return;
    {
      std::lock_guard lock(mutex_);
      stopped_ = true;
    }
    changed_.notify_all();
    thread_->join();
  }

  // False at the end.
  bool next(Batch& batch) {
    leave_thread_to_parent();
    if (ring_.empty()) return make(batch);
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return filled_ > 0 || ended_; });
    if (filled_ == 0) {
      if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
      return false;
    }
    batch = std::exchange(ring_[head_], {});
    head_ = (head_ + 1) % ring_.size();
    --filled_;
    taken_ += batch_size_;
    lock.unlock();
    changed_.notify_all();
    return true;
  }

 private:
  bool make(Batch& batch) {
    if (at_ >= order_.size()) return false;
    const size_t n = std::min(batch_size_, order_.size() - at_);
    batch = dataset_.batch({order_.data() + at_, n});
    at_ += n;
    return true;
  }

  // A forked child goes on by itself from the batch that was taken last: what the thread was at is not to be trusted.
  void leave_thread_to_parent() {
    if (!thread_ || thread_->is_here()) return;
    thread_.reset();
    if (mutex_.try_lock())
      ring_.clear();
    else
      detail::renew(ring_);  // it was about to change
    detail::renew(mutex_);
    detail::renew(changed_);
    at_ = taken_;
  }

  void produce() {
    try {
      while (produce_one()) {
      }
    } catch (...) {
      std::lock_guard lock(mutex_);
      error_ = std::current_exception();
    }
    {
      std::lock_guard lock(mutex_);
      ended_ = true;
    }
    changed_.notify_all();
  }

  // Waits for room before it makes a batch, so that there are never more than the ring holds.
  bool produce_one() {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return filled_ < ring_.size() || stopped_; });
      if (stopped_) return false;
    }
    Batch batch;
    if (!make(batch)) return false;
    {
      std::lock_guard lock(mutex_);
      ring_[(head_ + filled_++) % ring_.size()] = std::move(batch);
    }
    changed_.notify_all();
    return true;
  }

  const Dataset& dataset_;
  const std::vector<int64_t> order_;
  size_t at_;           // where the next batch to be made begins
  size_t taken_ = at_;  // where the next batch to be taken begins
  const size_t batch_size_;

  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::vector<Batch> ring_;
  size_t head_ = 0, filled_ = 0;
  bool stopped_ = false, ended_ = false;
  std::exception_ptr error_;
  std::optional<detail::OwnThread> thread_;
};

DataLoader::Iterator::Iterator(std::unique_ptr<Epoch> epoch) : epoch_(std::move(epoch)) { ++*this; }
DataLoader::Iterator::Iterator(Iterator&&) noexcept = default;
DataLoader::Iterator& DataLoader::Iterator::operator=(Iterator&&) noexcept = default;
DataLoader::Iterator::~Iterator() = default;

DataLoader::Iterator& DataLoader::Iterator::operator++() {
  auto epoch = std::move(epoch_);  // whatever next() throws ends the iteration
  batch_ = {};                     // its memory may serve the next one
  if (epoch->next(batch_)) epoch_ = std::move(epoch);
  return *this;
}

DataLoader::DataLoader(const Dataset& dataset, const DataLoaderOptions& options)
    : dataset_(dataset), options_(options), examples_(dataset.size()) {
  check<ValueError>(options.batch_size >= 1, "dataloader: batch_size ", options.batch_size, " is not positive");
  check<ValueError>(options.limit >= -1, "dataloader: limit ", options.limit,
                    " is neither -1 nor a number of examples");
  check<ValueError>(options.prefetch >= 0, "dataloader: prefetch ", options.prefetch, " is negative");
  if (options.limit >= 0) examples_ = std::min(examples_, options.limit);
  if (options.drop_last) examples_ -= examples_ % options.batch_size;
}

DataLoader::Iterator DataLoader::begin() {
  const int64_t batches = std::min(std::exchange(skip_, 0), size());
  const int64_t first = std::min(batches * options_.batch_size, examples_);
  auto epoch =
      std::make_unique<Epoch>(dataset_, order(), static_cast<size_t>(first), static_cast<size_t>(options_.batch_size),
                              static_cast<size_t>(std::min<int64_t>(options_.prefetch, size())));
  ++epoch_;
  return Iterator(std::move(epoch));
}

int64_t DataLoader::size() const { return examples_ / options_.batch_size + (examples_ % options_.batch_size != 0); }

void DataLoader::set_epoch(int64_t epoch) {
  check<ValueError>(epoch >= 0, "dataloader: epoch ", epoch, " is negative");
  epoch_ = epoch;
}

void DataLoader::skip(int64_t batches) {
  check<ValueError>(batches >= 0, "dataloader: cannot skip ", batches, " batches");
  skip_ = batches;
}

std::vector<int64_t> DataLoader::order() const {
  std::vector<int64_t> order;
  if (options_.shuffle) {
    order = Generator(options_.seed).split(static_cast<uint64_t>(epoch_)).permutation(dataset_.size());
    order.resize(static_cast<size_t>(examples_));
  } else {
    order.resize(static_cast<size_t>(examples_));
    std::iota(order.begin(), order.end(), 0);
  }
  return order;
}

}  // namespace thimble::data
