#include <atomic>
#include <csignal>
#include <cstring>
#include <stdexcept>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "tests/forked.h"
#include <thimble/core/error.h>
#include <thimble/core/memory.h>
#include <thimble/core/ndarray.h>
#include <thimble/core/parallel.h>
#include <thimble/core/platform/fork.h>

namespace thimble {
namespace {

constexpr int64_t kNumbers = 1000;

bool adds_up() {
  std::atomic<int64_t> sum = 0;
  parallel_for(kNumbers, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) sum += i;
  });
  return sum == kNumbers * (kNumbers - 1) / 2;
}

class Fork : public testing::Test {
 protected:
  Fork() { set_num_threads(3); }
  ~Fork() override { set_num_threads(before_); }
  void SetUp() override { SKIP_WHERE_CHILDREN_MAY_HANG(); }

  int before_ = num_threads();
};

TEST_F(Fork, AChildOfAProcessWithThreadsComputesAndExits) {
  ASSERT_TRUE(adds_up());
  EXPECT_EQ(status_of_child([] { return true; }), 0);
  EXPECT_EQ(status_of_child([] { return adds_up() && adds_up(); }), 0);
  EXPECT_EQ(status_of_child([] {
              set_num_threads(2);
              return adds_up();
            }),
            0);
  EXPECT_EQ(status_of_child([] { return adds_up() && status_of_child(adds_up) == 0; }), 0) << "a child's child";
  EXPECT_TRUE(adds_up()) << "the parent goes on";
}

TEST_F(Fork, WorkersThatSleepAreNotWaitedFor) {
  ASSERT_TRUE(adds_up());
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(status_of_child(adds_up), 0);
}

TEST_F(Fork, WhatOtherThreadsAreAtDoesNotBlockAChild) {
  std::atomic<bool> done = false;
  std::vector<std::thread> others;
  others.emplace_back([&] {
    while (!done) adds_up();
  });
  others.emplace_back([&] {
    while (!done) allocate(5000);
  });
  int failures = 0;
  for (int i = 0; i < 20; ++i) failures += status_of_child([] { return adds_up() && allocate(5000) != nullptr; }) != 0;
  done = true;
  for (std::thread& other : others) other.join();
  EXPECT_EQ(failures, 0);
}

TEST_F(Fork, ALoopInWhichAProcessIsForkedIsTheParentsAlone) {
  const pid_t parent = ::getpid();
  pid_t child = -1;
  std::atomic<int64_t> count = 0;
  bool refused = false;
  try {
    parallel_for(3, 1, [&](int64_t begin, int64_t end) {
      count += end - begin;
      if (begin == 0) child = ::fork();
    });
  } catch (const Error&) {
    refused = true;
  }
  if (::getpid() != parent) {
    std::exit(refused ? 0 : 1);
  }
  EXPECT_FALSE(refused);
  EXPECT_EQ(count, 3);
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_F(Fork, AChildOfAWorkerThatGoesOnEnds) {
  const std::thread::id caller = std::this_thread::get_id();
  std::atomic<pid_t> child = -1;
  std::atomic<bool> forking = false;
  parallel_for(3, 1, [&](int64_t, int64_t) {
    if (std::this_thread::get_id() == caller) {
      while (child < 0) std::this_thread::yield();
    } else if (!forking.exchange(true)) {
      child = ::fork();
      if (child == 0) ::alarm(60);  // if it hangs
    }
  });
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGABRT);
}

TEST_F(Fork, ALoopThatFailedInAChildDoesNotFailTheNextOne) {
  const pid_t parent = ::getpid();
  pid_t child = -1;
  try {
    parallel_for(3, 1, [&](int64_t begin, int64_t) {
      if (begin > 0) return;
      child = ::fork();
      if (child == 0) throw std::runtime_error("of the child");
    });
  } catch (const Error&) {
  }
  if (::getpid() != parent) {
    std::exit(adds_up() ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_F(Fork, ForksAreCounted) {
  const int here = detail::forks_so_far();
  EXPECT_EQ(status_of_child([here] { return detail::forks_so_far() == here + 1; }), 0);
  EXPECT_EQ(detail::forks_so_far(), here);
}

}  // namespace
}  // namespace thimble
