#include "tests/out_of_memory/failing_allocator.h"

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <limits>
#include <new>

namespace thimble {

namespace {

constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

std::atomic<int64_t> left = kNever;  // allocations until the one that fails
std::atomic<bool> all_later = false;
std::atomic<int64_t> live = 0;

bool fails() {
  if (left.load(std::memory_order_relaxed) == kNever) return false;
  const int64_t n = left.fetch_sub(1);
  return n == 1 || (n < 1 && all_later);
}

}  // namespace

FailingAllocator::FailingAllocator(int64_t nth, Failing failing) {
  all_later = failing == Failing::from_here;
  left = nth;
}

FailingAllocator::~FailingAllocator() { left = kNever; }

bool FailingAllocator::has_failed() const { return left < 1; }

int64_t live_allocations() { return live; }

}  // namespace thimble

// All forms but the aligned ones: under AddressSanitizer those that are not replaced would not come here.
void* operator new(size_t bytes, const std::nothrow_t&) noexcept {
  void* p = thimble::fails() ? nullptr : std::malloc(bytes > 0 ? bytes : 1);
  if (p) ++thimble::live;
  return p;
}

void* operator new(size_t bytes) {
  void* p = operator new(bytes, std::nothrow);
  if (!p) throw std::bad_alloc();
  return p;
}

void* operator new[](size_t bytes) { return operator new(bytes); }
void* operator new[](size_t bytes, const std::nothrow_t&) noexcept { return operator new(bytes, std::nothrow); }

void operator delete(void* p) noexcept {
  if (p) --thimble::live;
  std::free(p);
}

void operator delete(void* p, size_t) noexcept { operator delete(p); }
void operator delete(void* p, const std::nothrow_t&) noexcept { operator delete(p); }
void operator delete[](void* p) noexcept { operator delete(p); }
void operator delete[](void* p, size_t) noexcept { operator delete(p); }
void operator delete[](void* p, const std::nothrow_t&) noexcept { operator delete(p); }

extern "C" void* aligned_alloc(size_t alignment, size_t bytes) noexcept {
  void* p = nullptr;
  if (thimble::fails() || ::posix_memalign(&p, alignment, bytes) != 0) {
    errno = ENOMEM;
    return nullptr;
  }
  return p;
}
