#include "apps/interruption.h"

#include <csignal>
#include <cstdlib>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace thimble::apps {
namespace {

// In processes of their own, which may end.
class InterruptionTest : public testing::Test {
 protected:
  InterruptionTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }

  // Status 0 if, of these signals, the first is noted and the last does not end the program.
  static void survive(int first, int last, bool at_once = true) {
    const Interruption interruption;
    std::raise(first);
    const bool noted = interruption.signal() == first;
    if (!at_once) ::usleep(1'100'000);
    std::raise(last);
    std::_Exit(noted && interruption.signal() == first ? 0 : 1);
  }
};

TEST_F(InterruptionTest, WhatComesWithTheFirstSignalChangesNothing) {
  for (const int first : {SIGHUP, SIGINT, SIGTERM})
    for (const int second : {SIGHUP, SIGINT, SIGTERM})
      EXPECT_EXIT(survive(first, second), testing::ExitedWithCode(0), "") << first << ' ' << second;
}

TEST_F(InterruptionTest, OfLaterOnesAnInterruptEndsTheProgram) {
  EXPECT_EXIT(survive(SIGTERM, SIGINT, false), testing::KilledBySignal(SIGINT), "");
  EXPECT_EXIT(survive(SIGINT, SIGTERM, false), testing::ExitedWithCode(0), "");
  EXPECT_EXIT(survive(SIGINT, SIGHUP, false), testing::ExitedWithCode(0), "");
}

// Signals may be given to any of them.
TEST_F(InterruptionTest, ALateInterruptEndsAProgramOfSeveralThreads) {
  const auto interrupted_again = [] {
    const Interruption interruption;
    std::vector<std::thread> others;
    for (int i = 0; i < 3; ++i)
      others.emplace_back([] {
        while (true) ::pause();
      });
    for (int i = 0; i < 2; ++i) ::kill(::getpid(), SIGTERM);
    ::usleep(1'100'000);
    ::kill(::getpid(), SIGINT);
    ::sleep(10);
    std::_Exit(0);
  };
  EXPECT_EXIT(interrupted_again(), testing::KilledBySignal(SIGINT), "");
}

TEST_F(InterruptionTest, AnIgnoredSignalStaysIgnored) {
  const auto with_ignored_interrupt = [] {
    std::signal(SIGINT, SIG_IGN);
    survive(SIGTERM, SIGINT);
  };
  EXPECT_EXIT(with_ignored_interrupt(), testing::ExitedWithCode(0), "");
}

TEST_F(InterruptionTest, AfterwardsSignalsDoWhatTheyDidBefore) {
  const auto afterwards = [] {
    std::signal(SIGINT, SIG_IGN);
    {
      const Interruption interruption;
      std::raise(SIGTERM);
    }
    std::raise(SIGINT);
    std::raise(SIGTERM);
  };
  EXPECT_EXIT(afterwards(), testing::KilledBySignal(SIGTERM), "");
}

}  // namespace
}  // namespace thimble::apps
