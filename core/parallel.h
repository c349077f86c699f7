// The library's one thread pool.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

#include <thimble/core/api.h>

namespace thimble {

/// Threads that parallel_for uses, the caller included. Initially the number of cores this process may run on.
THIMBLE_API int num_threads();

/// Throws ValueError unless 1 <= n <= 1024, or when called from inside parallel_for. A forked child has none of its
/// parent's threads and starts its own. If it was forked inside parallel_for and goes on, the loop throws Error there,
/// or ends the child if another thread than the caller's forked.
THIMBLE_API void set_num_threads(int n);

namespace detail {
/// A reference to a callable void(int64_t begin, int64_t end); unlike std::function it never allocates.
class RangeBody {
 public:
  template <typename F, typename = std::enable_if_t<!std::is_same_v<std::decay_t<F>, RangeBody>>>
  RangeBody(F&& f)
      : object_(const_cast<void*>(static_cast<const void*>(std::addressof(f)))),
        call_([](void* object, int64_t begin, int64_t end) {
          (*static_cast<std::remove_reference_t<F>*>(object))(begin, end);
        }) {}
  void operator()(int64_t begin, int64_t end) const { call_(object_, begin, end); }

 private:
  void* object_;
  void (*call_)(void*, int64_t, int64_t);
};
}  // namespace detail

/// While it lives, this thread's loops run on it alone, in one piece each.
class THIMBLE_API OnThisThread {
 public:
  OnThisThread();
  ~OnThisThread();
  OnThisThread(const OnThisThread&) = delete;
  OnThisThread& operator=(const OnThisThread&) = delete;

 private:
  bool before_;
};

/// Whether this thread's loops run on it alone whatever they are: num_threads() is 1, or it is within OnThisThread or
/// runs a piece of several of a parallel_for.
THIMBLE_API bool loops_run_alone();

/// Calls body(begin, end) on consecutive pieces that together cover [0, n), as many as threads at most, none shorter
/// than `grain` (except that a short range is one piece). Pieces depend on n, grain and num_threads(), except that
/// within OnThisThread there is one. What body computes must not depend on how [0, n) is divided, as nothing in the
/// library does: small inference programs that are called often run within OnThisThread or not by what took less time
/// (nn/inference/thread_choice.h). Who wants the same pieces at each call fixes them by set_num_threads(1) or an
/// OnThisThread of his own: nothing is measured then. Nested calls, and calls while another thread uses the pool, run
/// their pieces one after the other. An exception thrown by body is rethrown here when no other piece runs any
/// more.
THIMBLE_API void parallel_for(int64_t n, int64_t grain, detail::RangeBody body);

}  // namespace thimble
