// Calls of a program whose times are made up. Trials are of 16 calls: after 64 calls, then every 512.
#include <functional>
#include <vector>

#include <gtest/gtest.h>

#include <thimble/nn/inference/thread_choice.h>

namespace thimble::nn {
namespace {

using namespace std::chrono_literals;
using Time = ThreadChoice::Clock::duration;

// How many of `calls` were to be made on one thread, if the i-th takes time_of(call, i).
int calls_alone(ThreadChoice& choice, int calls, const std::function<Time(const ThreadChoice::Call&, int)>& time_of,
                int threads = 2) {
  int count = 0;
  for (int i = 0; i < calls; ++i) {
    const ThreadChoice::Call call = choice.next(threads);
    choice.note(call, time_of(call, i));
    count += call.alone ? 1 : 0;
  }
  return count;
}

// If those on one thread and the others take so long.
int calls_alone(ThreadChoice& choice, int calls, Time alone, Time together, int threads = 2) {
  return calls_alone(
      choice, calls, [&](const ThreadChoice::Call& call, int) { return call.alone ? alone : together; }, threads);
}

TEST(ThreadChoice, CallsAreOfTheFasterKind) {
  ThreadChoice choice;
  EXPECT_EQ(calls_alone(choice, 64, 180us, 200us), 0);
  EXPECT_EQ(calls_alone(choice, 16, 180us, 200us), 8);
  EXPECT_EQ(calls_alone(choice, 496, 180us, 200us), 496);
  // After a while it is measured again.
  EXPECT_EQ(calls_alone(choice, 16, 140us, 100us), 8);
  EXPECT_EQ(calls_alone(choice, 496, 140us, 100us), 0);
  EXPECT_EQ(calls_alone(choice, 16, 90us, 100us), 8);
  EXPECT_EQ(calls_alone(choice, 496, 90us, 100us), 496);
}

TEST(ThreadChoice, OnlyCallsOfTrialsAreTimed) {
  ThreadChoice choice;
  for (int i = 0; i < 1200; ++i) {
    const int number = i < 64 ? -1 : (i - 64) % 512;
    EXPECT_EQ(choice.next(2).is_timed, number >= 0 && number < 16 && number % 4 != 0) << i;
  }
}

// One of each kind, of either kind's calls that count.
TEST(ThreadChoice, OneSlowCallDoesNotMatter) {
  for (const bool alone_is_faster : {false, true})
    for (int slow = 0; slow < 4; ++slow) {
      ThreadChoice choice;
      calls_alone(choice, 64, 0us, 0us);
      calls_alone(choice, 16, [&](const ThreadChoice::Call& call, int i) -> Time {
        if (!call.alone) return i % 8 == slow ? 5000us : 100us;
        return i == 12 + slow ? 5000us : alone_is_faster ? 90us : 110us;
      });
      EXPECT_EQ(calls_alone(choice, 496, 1us, 1us), alone_is_faster ? 496 : 0) << slow;
    }
}

TEST(ThreadChoice, LongCallsAreNotTriedAlone) {
  ThreadChoice choice;
  EXPECT_EQ(calls_alone(choice, 5000, 1us, 3ms), 0);
}

// As it does when other programs took the cores for a while.
TEST(ThreadChoice, WhatWasLongIsTriedWhenItIsNotAnyMore) {
  ThreadChoice choice;
  EXPECT_EQ(calls_alone(choice, 64 + 512, 1ms, 3ms), 0);
  EXPECT_EQ(calls_alone(choice, 16, 80us, 100us), 8);
  EXPECT_EQ(calls_alone(choice, 496, 80us, 100us), 496);
  EXPECT_EQ(calls_alone(choice, 512, 80us, 3ms), 0);
}

TEST(ThreadChoice, ATrialThatCostsMuchEnds) {
  ThreadChoice choice;
  EXPECT_EQ(calls_alone(choice, 64 + 512, 151us, 100us), 2);  // one that does not count, and one that does
  EXPECT_EQ(calls_alone(choice, 512, 149us, 100us), 8);
}

TEST(ThreadChoice, AnotherNumberOfThreadsBeginsAnew) {
  ThreadChoice choice;
  EXPECT_EQ(calls_alone(choice, 100, 80us, 100us, 3), 8 + 20);
  EXPECT_EQ(calls_alone(choice, 64, 80us, 100us, 4), 0);
  EXPECT_EQ(calls_alone(choice, 16, 80us, 100us, 4), 8);
  EXPECT_EQ(calls_alone(choice, 20, 80us, 100us, 4), 20);
  EXPECT_EQ(calls_alone(choice, 64, 80us, 100us, 3), 0);
}

// Also in the middle of a trial.
TEST(ThreadChoice, TimesOfAnotherNumberOfThreadsAreForgotten) {
  ThreadChoice choice;
  calls_alone(choice, 64 + 15, 80us, 1us, 3);
  calls_alone(choice, 64 + 16, 80us, 100us, 4);
  EXPECT_EQ(calls_alone(choice, 496, 80us, 100us, 4), 496);
}

// Callers at once are done in any order, some a trial later, and some fail.
TEST(ThreadChoice, NotesMayComeLateOrNever) {
  ThreadChoice choice;
  std::vector<ThreadChoice::Call> late;
  calls_alone(choice, 64, 0us, 0us);
  for (int i = 0; i < 16; ++i) {
    const ThreadChoice::Call call = choice.next(2);
    if (i == 2 || i == 15)
      late.push_back(call);
    else
      choice.note(call, call.alone ? 80us : 100us);
  }
  EXPECT_EQ(calls_alone(choice, 496, 80us, 100us), 496);
  // What comes now is of the trial before: the last was of one thread, the first of all.
  ASSERT_TRUE(late[1].alone && !late[0].alone);
  calls_alone(choice, 1, 110us, 100us);
  for (const ThreadChoice::Call& call : late) choice.note(call, call.alone ? 1us : 100us);
  EXPECT_EQ(calls_alone(choice, 15, 110us, 100us), 8);
  EXPECT_EQ(calls_alone(choice, 496, 110us, 100us), 0);
  // Of a trial that nobody noted nothing is left, nor is anything of the one before.
  for (int i = 0; i < 512; ++i) choice.next(2);
  EXPECT_EQ(calls_alone(choice, 16, 110us, 120us), 8);
  EXPECT_EQ(calls_alone(choice, 496, 110us, 120us), 496);
}

// Who are given all their numbers before any of them is done.
TEST(ThreadChoice, SixteenCallersAtOnce) {
  ThreadChoice choice;
  calls_alone(choice, 64, 0us, 0us);
  std::vector<ThreadChoice::Call> calls;
  for (int i = 0; i < 16; ++i) calls.push_back(choice.next(2));
  for (auto call = calls.rbegin(); call != calls.rend(); ++call) choice.note(*call, call->alone ? 80us : 100us);
  EXPECT_EQ(calls_alone(choice, 496, 80us, 100us), 496);
}

}  // namespace
}  // namespace thimble::nn
