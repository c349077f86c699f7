#include <atomic>

#include <pthread.h>

#include <thimble/core/platform/fork.h>

namespace thimble::detail {

namespace {
std::atomic<int> forks{0};

// Before other handlers of this library, which may ask.
[[maybe_unused]] const int counting = pthread_atfork(nullptr, nullptr, [] { ++forks; });
}  // namespace

int forks_so_far() { return forks.load(std::memory_order_relaxed); }

}  // namespace thimble::detail
