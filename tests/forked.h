// What a forked child of a test does.
#pragma once

#include <cstdio>
#include <cstdlib>

#include <sys/wait.h>
#include <unistd.h>

#include "tests/sanitized.h"

/// Skips a test that forks while other threads are at work: they may hold a lock of the sanitizer's allocator, which is
/// then held in the child for good.
#define SKIP_WHERE_CHILDREN_MAY_HANG() \
  if (kSanitized) GTEST_SKIP() << "the sanitizer's allocator may be locked in a child"

namespace thimble {

inline bool is_forked_child = false;

/// The status with which a child leaves by exit(), as a program does: 0 if body() there returns true, 1 if not. -1 if
/// it did not end, or crashed.
template <typename F>
int status_of_child(F&& body) {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    is_forked_child = true;
    ::alarm(60);  // one that hangs
    std::exit(body() ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace thimble

/// What the parent's other threads held is lost in a child: AddressSanitizer shall not look for it there.
extern "C" __attribute__((used)) inline int __lsan_is_turned_off() { return thimble::is_forked_child; }
