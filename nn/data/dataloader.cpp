#include <algorithm>
#include <condition_variable>
#include <exception>
#include <list>
#include <mutex>
#include <numeric>
#include <optional>
#include <utility>

#include <thimble/core/autocast.h>
#include <thimble/core/parallel.h>
#include <thimble/core/platform/fork.h>
#include <thimble/core/profiler.h>
#include <thimble/core/random.h>
#include <thimble/nn/data/dataloader.h>

namespace thimble::data {

namespace {

// This thread's default generator, for a scope.
class DefaultGenerator {
 public:
  explicit DefaultGenerator(const Generator& generator) : before_(default_generator()) {
    default_generator() = generator;
  }
  ~DefaultGenerator() { default_generator() = before_; }
  DefaultGenerator(const DefaultGenerator&) = delete;
  DefaultGenerator& operator=(const DefaultGenerator&) = delete;

 private:
  Generator before_;
};

}  // namespace

/// One pass over the data: batches by their numbers. Threads of its own keep a ring of them filled, or next() makes
/// them if there is no ring, or no thread: a forked child has none.
class DataLoader::Epoch {
 public:
  struct Plan {
    std::vector<int64_t> order;  // of the examples
    size_t batch_size;
    size_t first;      // number of the batch to begin with
    size_t prefetch;   // batches
    size_t workers;    // threads, if anything is prefetched
    Generator random;  // what examples draw from
    BatchTransform transform;
  };

  Epoch(std::shared_ptr<const Dataset> dataset, Plan plan)
      : dataset_(std::move(dataset)),
        plan_(std::move(plan)),
        batches_((plan_.order.size() + plan_.batch_size - 1) / plan_.batch_size),
        next_(plan_.first),
        taken_(plan_.first),
        ring_(plan_.prefetch) {
    try {
      for (size_t i = 0; i < std::min(plan_.workers, ring_.size()); ++i) threads_.emplace_back([this] { produce(); });
    } catch (...) {
      stop();
      throw;
    }
  }

  ~Epoch() {
    leave_threads_to_parent();
    stop();
  }

  // False at the end. What the dataset throws is thrown at the batch that it concerns.
  bool next(Batch& batch) {
    leave_threads_to_parent();
    if (taken_ >= batches_) return false;
    if (ring_.empty()) {
      batch = make(taken_++);
      return true;
    }
    std::unique_lock lock(mutex_);
    Slot& slot = ring_[taken_ % ring_.size()];
    changed_.wait(lock, [&] { return slot.is_filled; });
    Slot taken = std::exchange(slot, {});
    ++taken_;
    lock.unlock();
    changed_.notify_all();
    if (taken.error) std::rethrow_exception(taken.error);
    batch = std::move(taken.batch);
    return true;
  }

 private:
  // Streams of batches, which are no example's number.
  static constexpr uint64_t kBatches = ~uint64_t{0}, kDefaults = kBatches - 1;

  struct Slot {
    Batch batch;
    std::exception_ptr error;
    bool is_filled = false;
  };

  Batch make(size_t number) const {
    // The same whoever makes it: without gradients, in float32, and what draws from the default generator draws for it.
    const NoGrad guard;
    const Autocast in_full(DType::float32);
    const DefaultGenerator own_numbers(plan_.random.split(kDefaults).split(number));
    const size_t at = number * plan_.batch_size, n = std::min(plan_.batch_size, plan_.order.size() - at);
    Batch batch = dataset_->batch({plan_.order.data() + at, n}, plan_.random);
    if (plan_.transform) {
      Generator own = plan_.random.split(kBatches).split(number);
      plan_.transform(batch, own);
    }
    return batch;
  }

  void stop() {
    {
      std::lock_guard lock(mutex_);
      stopped_ = true;
    }
    changed_.notify_all();
    for (detail::OwnThread& thread : threads_) thread.join();
  }

  // A forked child goes on by itself from the batch that was taken last: what the threads were at is not to be trusted.
  void leave_threads_to_parent() {
    if (threads_.empty() || threads_.front().is_here()) return;
    threads_.clear();
    if (mutex_.try_lock())
      ring_.clear();
    else
      detail::renew(ring_);  // it was about to change
    detail::renew(mutex_);
    detail::renew(changed_);
  }

  // Training has the other threads.
  void produce() {
    const OnThisThread alone;
    while (const std::optional<size_t> number = next_number()) {
      Slot slot;
      try {
        slot.batch = make(*number);
      } catch (...) {
        slot.error = std::current_exception();
      }
      slot.is_filled = true;
      {
        std::lock_guard lock(mutex_);
        if (slot.error) next_ = batches_;
        ring_[*number % ring_.size()] = std::move(slot);
      }
      changed_.notify_all();
    }
  }

  // Waits for room before a batch is made, so that there are never more than the ring holds. None at the end.
  std::optional<size_t> next_number() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return stopped_ || next_ >= batches_ || next_ < taken_ + ring_.size(); });
    return stopped_ || next_ >= batches_ ? std::nullopt : std::optional(next_++);
  }

  const std::shared_ptr<const Dataset> dataset_;
  const Plan plan_;
  const size_t batches_;

  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  size_t next_;             // the batch to be made next
  size_t taken_;            // the batch to be taken next
  std::vector<Slot> ring_;  // batch i at i modulo its size
  bool stopped_ = false;
  std::list<detail::OwnThread> threads_;
};

DataLoader::Iterator::Iterator(std::unique_ptr<Epoch> epoch) : epoch_(std::move(epoch)) { ++*this; }
DataLoader::Iterator::Iterator(Iterator&&) noexcept = default;
DataLoader::Iterator& DataLoader::Iterator::operator=(Iterator&&) noexcept = default;
DataLoader::Iterator::~Iterator() = default;

DataLoader::Iterator& DataLoader::Iterator::operator++() {
  const ProfiledScope profiled("(data)");
  auto epoch = std::move(epoch_);  // whatever next() throws ends the iteration
  batch_ = {};                     // its memory may serve the next one
  if (epoch->next(batch_)) epoch_ = std::move(epoch);
  return *this;
}

DataLoader::DataLoader(const Dataset& dataset, const DataLoaderOptions& options)
    : DataLoader(std::shared_ptr<const Dataset>(std::shared_ptr<void>(), &dataset), options) {}

DataLoader::DataLoader(std::shared_ptr<const Dataset> dataset, const DataLoaderOptions& options)
    : dataset_(std::move(dataset)), options_(options) {
  check<ValueError>(dataset_ != nullptr, "dataloader: of no dataset");
  examples_ = dataset_->size();
  check<ValueError>(options.batch_size >= 1, "dataloader: batch_size ", options.batch_size, " is not positive");
  check<ValueError>(options.limit >= -1, "dataloader: limit ", options.limit,
                    " is neither -1 nor a number of examples");
  check<ValueError>(options.prefetch >= 0, "dataloader: prefetch ", options.prefetch, " is negative");
  check<ValueError>(options.workers >= 1, "dataloader: workers ", options.workers,
                    " is not positive; without threads it is prefetch 0");
  if (options.limit >= 0) examples_ = std::min(examples_, options.limit);
  if (options.drop_last) examples_ -= examples_ % options.batch_size;
}

DataLoader::Iterator DataLoader::begin() {
  const int64_t batches = size(), first = std::min(skip_, batches);
  const int64_t ahead = options_.prefetch == 0 ? 0 : std::max(options_.prefetch, options_.workers);
  auto epoch = std::make_unique<Epoch>(dataset_, Epoch::Plan{.order = order(),
                                                             .batch_size = static_cast<size_t>(options_.batch_size),
                                                             .first = static_cast<size_t>(first),
                                                             .prefetch = static_cast<size_t>(std::min(ahead, batches)),
                                                             .workers = static_cast<size_t>(options_.workers),
                                                             .random = random(),
                                                             .transform = options_.transform});
  Iterator iterator(std::move(epoch));
  skip_ = 0;
  ++epoch_;
  return iterator;
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

Generator DataLoader::random() const { return Generator(options_.seed).split(static_cast<uint64_t>(epoch_)); }

std::vector<int64_t> DataLoader::order() const {
  std::vector<int64_t> order;
  if (options_.shuffle) {
    order = random().permutation(dataset_->size());
    check<ValueError>(examples_ <= std::ssize(order), "dataloader: the dataset had ", examples_, " examples, now ",
                      order.size());
    order.resize(static_cast<size_t>(examples_));
  } else {
    order.resize(static_cast<size_t>(examples_));
    std::iota(order.begin(), order.end(), 0);
  }
  return order;
}

}  // namespace thimble::data
