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
  static void survive(int first, int last) {
    const Interruption interruption;
    std::raise(first);
    const bool noted = interruption.signal() == first;
    std::raise(last);
    std::_Exit(noted ? 0 : 1);
  }
};

TEST_F(InterruptionTest, ASecondSignalOfAnyKindEndsTheProgram) {
  for (const int first : {SIGHUP, SIGINT, SIGTERM})
    for (const int second : {SIGHUP, SIGINT, SIGTERM})
      EXPECT_EXIT(survive(first, second), testing::KilledBySignal(second), "") << first;
}

// The second may be given to another thread before the first has been noted.
TEST_F(InterruptionTest, ASecondSignalEndsAProgramOfSeveralThreads) {
  const auto interrupted_twice_at_once = [] {
    const Interruption interruption;
    std::vector<std::thread> others;
    for (int i = 0; i < 3; ++i) others.emplace_back(::pause);
    ::kill(::getpid(), SIGINT);
    ::kill(::getpid(), SIGTERM);
    ::sleep(10);
    std::_Exit(0);
  };
  const auto by_a_signal = [](int status) { return WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL; };
  for (int i = 0; i < 20; ++i) EXPECT_EXIT(interrupted_twice_at_once(), by_a_signal, "");
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
