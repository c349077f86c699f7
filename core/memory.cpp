#include <bit>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <new>
#include <unordered_map>
#include <vector>

#include <sys/mman.h>

#include <thimble/core/memory.h>

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
constexpr size_t kHugePage = size_t{2} << 20;

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

void* system_allocate(size_t bytes) {
  const size_t alignment = bytes >= kHugePage ? kHugePage : kAlignment;
  void* p = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  if (!p) throw std::bad_alloc();
  // Weights of megabytes are read from end to end each step: large pages spare the TLB. Advice only.
  if (bytes >= kHugePage) (void)madvise(p, bytes, MADV_HUGEPAGE);
  return p;
}

class Cache {
 public:
  void* take(size_t bytes) {
    {
      std::lock_guard lock(mutex_);
      std::vector<void*>& free = free_[bytes];
      if (!free.empty()) {
        void* p = free.back();
        free.pop_back();
        cached_ -= bytes;
        return p;
      }
    }
    try {
      return system_allocate(bytes);
    } catch (const std::bad_alloc&) {
      clear();
      return system_allocate(bytes);
    }
  }

  void give_back(void* p, size_t bytes) noexcept {
    if (kCaching) {
      std::lock_guard lock(mutex_);
      std::vector<void*>& free = free_[bytes];
      try {
        free.push_back(p);
        cached_ += bytes;
        return;
      } catch (const std::bad_alloc&) {
      }
    }
    std::free(p);
  }

  size_t cached() {
    std::lock_guard lock(mutex_);
    return cached_;
  }

  void clear() {
    std::lock_guard lock(mutex_);
    for (auto& [bytes, free] : free_) {
      for (void* p : free) std::free(p);
      free.clear();
    }
    cached_ = 0;
  }

 private:
  std::mutex mutex_;
  std::unordered_map<size_t, std::vector<void*>> free_;
  size_t cached_ = 0;
};

// Never destroyed: arrays with static lifetime may outlive any order of destruction.
Cache& cache() {
  static Cache* cache = new Cache;
  return *cache;
}

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

size_t cached_bytes() { return cache().cached(); }

void empty_cache() { cache().clear(); }

}  // namespace thimble
