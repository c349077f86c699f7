// What a forked child of a test does.
#pragma once

#include <cstdio>
#include <cstdlib>

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/sanitized.h"

/// Skips a test that forks while other threads are at work: they may hold a lock of the sanitizer's allocator, which is
/// then held in the child for good.
#define SKIP_WHERE_CHILDREN_MAY_HANG() \
  if (::thimble::kSanitized) GTEST_SKIP() << "the sanitizer's allocator may be locked in a child"

namespace thimble {

/// The status with which a child leaves by exit(), as a program does: 0 if body() there returns true, 1 if not. -1 if
/// it did not end, or crashed.
template <typename F>
int status_of_child(F&& body) {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(60);  // one that hangs
    std::exit(body() ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace thimble
