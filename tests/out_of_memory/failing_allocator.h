// An allocator that fails when it is told to: this program's operator new and aligned_alloc, the library's included.
#pragma once

#include <cstdint>

namespace thimble {

enum class Failing {
  one,        ///< the n-th allocation alone
  from_here,  ///< it and all that follow
};

/// While it lives, the n-th allocation from now on fails, counted from 1 over all threads.
class FailingAllocator {
 public:
  FailingAllocator(int64_t nth, Failing failing);
  ~FailingAllocator();
  FailingAllocator(const FailingAllocator&) = delete;
  FailingAllocator& operator=(const FailingAllocator&) = delete;

  /// Whether it has come to that.
  bool has_failed() const;
};

/// What operator new has given and operator delete not got back.
int64_t live_allocations();

}  // namespace thimble
