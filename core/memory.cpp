#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <new>

#include <pthread.h>

#include <thimble/core/memory.h>
#include <thimble/core/platform/huge_pages.h>
#include <thimble/core/platform/machine_memory.h>

namespace thimble {

namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kCaching = false;  // so that a use after free is seen
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
constexpr bool kCaching = false;
#else
constexpr bool kCaching = true;
#endif
#else
constexpr bool kCaching = true;
#endif

constexpr size_t kAlignment = 64;

// Four size classes to each power of two, so that shapes that vary a little (the last batch of an epoch) share them.
size_t size_class(size_t bytes) {
  if (bytes <= 4 * kAlignment)
    return (bytes + kAlignment - 1) / kAlignment * kAlignment + (bytes == 0 ? kAlignment : 0);
  const size_t step = std::bit_floor(bytes - 1) / 4;
  return (bytes + step - 1) / step * step;
}

size_t checked_size_class(size_t bytes) {
  if (bytes > PTRDIFF_MAX) throw std::bad_alloc();  // no object is so large, and rounding up could overflow
  return size_class(bytes);
}

std::atomic<uint64_t> changes{0};

// Of a size class: 1 to 4 below 4 kAlignment, then four to each power of two.
size_t class_index(size_t bytes) {
  if (bytes <= 4 * kAlignment) return bytes / kAlignment;
  const auto power = static_cast<size_t>(std::bit_width(bytes - 1)) - 1;
  return 4 * (power - std::bit_width(2 * kAlignment)) + bytes / (std::bit_floor(bytes - 1) / 4);
}
constexpr size_t kClasses = 4 * 64;

void* system_allocate(size_t bytes) {
  const size_t alignment = bytes >= detail::kHugePage ? detail::kHugePage : kAlignment;
  void* p = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  if (!p) throw std::bad_alloc();
  detail::prefer_huge_pages(p, bytes);  // weights of megabytes are read from end to end each step
  return p;
}

// A block that lies in the cache. It is kept in the block's own memory, so that freeing never needs any.
struct Unused {
  size_t bytes;
  Unused *older, *newer;            // of all unused blocks
  Unused *older_twin, *newer_twin;  // of those of this size
};
static_assert(sizeof(Unused) <= kAlignment);

// A list of unused blocks, from the one that was freed first to the one that was freed last.
template <Unused* Unused::*Older, Unused* Unused::*Newer>
class AgeList {
 public:
  Unused* oldest() const { return oldest_; }
  Unused* newest() const { return newest_; }

  void push(Unused* block) {
    block->*Older = newest_;
    block->*Newer = nullptr;
    (newest_ ? newest_->*Newer : oldest_) = block;
    newest_ = block;
  }

  void remove(Unused* block) {
    (block->*Older ? block->*Older->*Newer : oldest_) = block->*Newer;
    (block->*Newer ? block->*Newer->*Older : newest_) = block->*Older;
  }

 private:
  Unused *oldest_ = nullptr, *newest_ = nullptr;
};

// How much is in use, and the most that was.
class Usage {
 public:
  void add(size_t bytes) {
    const size_t now = now_.fetch_add(bytes, std::memory_order_relaxed) + bytes;
    size_t most = most_.load(std::memory_order_relaxed);
    while (now > most && !most_.compare_exchange_weak(most, now, std::memory_order_relaxed)) {
    }
  }
  void remove(size_t bytes) { now_.fetch_sub(bytes, std::memory_order_relaxed); }
  size_t now() const { return now_.load(std::memory_order_relaxed); }
  size_t most() const { return most_.load(std::memory_order_relaxed); }
  void reset() { most_.store(now(), std::memory_order_relaxed); }

 private:
  std::atomic<size_t> now_{0}, most_{0};
};

class Cache {
 public:
  void* take(size_t bytes) {
    void* block = take_unused_or_new(bytes);
    usage_.add(bytes);
    return block;
  }

  void give_back(void* p, size_t bytes) noexcept {
    usage_.remove(bytes);
    if (!kCaching || bytes > limit_.load(std::memory_order_relaxed)) return std::free(p);
    std::lock_guard lock(mutex_);
    auto* block = new (p) Unused{bytes, nullptr, nullptr, nullptr, nullptr};
    all_.push(block);
    twins_[class_index(bytes)].push(block);
    cached_ += bytes;
    release_down_to(limit_.load(std::memory_order_relaxed));
  }

  Usage& usage() { return usage_; }

  size_t cached() {
    std::lock_guard lock(mutex_);
    return cached_;
  }

  void shrink_to(size_t bytes) {
    std::lock_guard lock(mutex_);
    release_down_to(bytes);
  }

  size_t limit() const { return limit_.load(std::memory_order_relaxed); }

  void set_limit(size_t bytes) {
    limit_.store(bytes, std::memory_order_relaxed);
    shrink_to(bytes);
  }

  void lock() { mutex_.lock(); }
  void unlock() { mutex_.unlock(); }

 private:
  void* take_unused_or_new(size_t bytes) {
    {
      std::lock_guard lock(mutex_);
      if (Unused* block = twins_[class_index(bytes)].newest()) {
        remove(block);
        return block;
      }
    }
    try {
      return system_allocate(bytes);
    } catch (const std::bad_alloc&) {
      shrink_to(0);
      return system_allocate(bytes);
    }
  }

  void remove(Unused* block) {
    all_.remove(block);
    twins_[class_index(block->bytes)].remove(block);
    cached_ -= block->bytes;
  }

  void release_down_to(size_t bytes) {
    while (cached_ > bytes) {
      Unused* block = all_.oldest();
      remove(block);
      std::free(block);
    }
  }

  std::mutex mutex_;
  AgeList<&Unused::older, &Unused::newer> all_;
  std::array<AgeList<&Unused::older_twin, &Unused::newer_twin>, kClasses> twins_;
  size_t cached_ = 0;
  Usage usage_;
  std::atomic<size_t> limit_{machine_memory() / 4};
};

// Never destroyed: arrays with static lifetime may outlive any order of destruction.
Cache& cache() {
  static Cache* cache = new Cache;
  // No other thread holds it while the process is forked, for the child would wait for that thread.
  [[maybe_unused]] static const int handlers =
      pthread_atfork([] { cache->lock(); }, [] { cache->unlock(); }, [] { cache->unlock(); });
  return *cache;
}

// When the library is loaded: a child that is forked while another thread makes the cache would wait for that thread.
[[maybe_unused]] const Cache& made_at_load = cache();

}  // namespace

std::shared_ptr<void> allocate(size_t bytes) {
  const size_t size = checked_size_class(bytes);
  return {cache().take(size), [size](void* p) { cache().give_back(p, size); }};
}

Storage::Storage(size_t bytes) : data(nullptr), size(checked_size_class(bytes)) { data = cache().take(size); }

Storage::~Storage() {
  if (size > 0) cache().give_back(data, size);
}

uint64_t next_change() { return changes.fetch_add(1, std::memory_order_relaxed) + 1; }

uint64_t last_change() { return changes.load(std::memory_order_relaxed); }

size_t allocated_bytes() { return cache().usage().now(); }

size_t peak_allocated_bytes() { return cache().usage().most(); }

void reset_peak_allocated_bytes() { cache().usage().reset(); }

size_t cached_bytes() { return cache().cached(); }

void empty_cache() { cache().shrink_to(0); }

size_t cache_limit() { return cache().limit(); }

void set_cache_limit(size_t bytes) { cache().set_limit(bytes); }

}  // namespace thimble
