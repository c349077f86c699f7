// Calls of a program whose times are made up.
#include <gtest/gtest.h>

#include <thimble/nn/inference/thread_choice.h>

namespace thimble::nn {
namespace {

using namespace std::chrono_literals;

// How many of `calls` were to be made on one thread, if those and the others take so long.
int calls_alone(ThreadChoice& choice, int calls, ThreadChoice::Clock::duration alone,
                ThreadChoice::Clock::duration together) {
  int count = 0;
  for (int i = 0; i < calls; ++i) {
    const ThreadChoice::Call call = choice.next();
    choice.note(call, call.alone ? alone : together);
    count += call.alone ? 1 : 0;
  }
  return count;
}

TEST(ThreadChoice, CallsAreOfTheFasterKind) {
  ThreadChoice choice;
  EXPECT_EQ(calls_alone(choice, 16, 180us, 200us), 8);
  EXPECT_EQ(calls_alone(choice, 496, 180us, 200us), 496);
  // After a while it is measured again.
  EXPECT_EQ(calls_alone(choice, 16, 180us, 100us), 8);
  EXPECT_EQ(calls_alone(choice, 496, 180us, 100us), 0);
}

TEST(ThreadChoice, OneSlowCallDoesNotMatter) {
  ThreadChoice choice;
  for (int i = 0; i < 16; ++i) {
    const ThreadChoice::Call call = choice.next();
    choice.note(call, call.alone ? 180us : i % 4 == 0 ? 5000us : i == 9 ? 900us : 100us);
  }
  EXPECT_EQ(calls_alone(choice, 100, 180us, 100us), 0);
}

TEST(ThreadChoice, LongCallsAreNotTriedAlone) {
  ThreadChoice choice;
  EXPECT_EQ(calls_alone(choice, 5000, 1us, 3ms), 0);
}

}  // namespace
}  // namespace thimble::nn
