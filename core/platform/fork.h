// What fork() leaves of threads: a child has its parent's memory, and of its threads only the one that forked.
#pragma once

#include <memory>
#include <thread>
#include <utility>

namespace thimble::detail {

/// How many forks made this process from the one that loaded the library. Counted by fork() itself, so that it costs
/// nothing to ask, and is right where process ids repeat, as in containers.
int forks_so_far();

/// Begins a mutex or a condition variable anew. In a forked child a thread that is not there may hold it or wait for
/// it, and would be waited for by its destructor, too.
template <typename T>
void renew(T& x) {
  std::construct_at(std::addressof(x));
}

/// A thread that a forked child's copy of the object knows it does not have: there, nothing waits for it.
class OwnThread {
 public:
  template <typename F>
  explicit OwnThread(F&& body) : thread_(std::forward<F>(body)), forks_(forks_so_far()) {}
  /// Must be joined before, as a std::thread.
  ~OwnThread() {
    if (is_here()) std::destroy_at(&thread_);
  }
  OwnThread(const OwnThread&) = delete;
  OwnThread& operator=(const OwnThread&) = delete;

  /// False in a process that was forked from the one that started it.
  bool is_here() const { return forks_ == forks_so_far(); }
  void join() {
    if (is_here()) thread_.join();
  }

 private:
  union {
    std::thread thread_;  // never touched by a child: what it names is not there
  };
  int forks_;
};

}  // namespace thimble::detail
