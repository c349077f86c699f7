#include "apps/state_keeper.h"

#include <csignal>
#include <sstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/serialization/files.h"
#include <thimble/nn/layers/linear.h>
#include <thimble/nn/training/optim/optimizer.h>

namespace thimble::apps {
namespace {

using testing::HasSubstr;

// A setting that is not UTF-8 cannot be saved, which is no error of the system.
class StateKeeperTest : public testing::Test {
 protected:
  StateKeeper keeper(const std::string& on_error) {
    const StateOptions options{.save = folder / "states", .resume = "", .every = 1, .keep = 3, .on_error = on_error};
    return {options, {{"setting", std::string("\xff")}}, net, optimizer, out};
  }

  TempFolder folder;
  nn::Linear net{2, 3};
  optim::SGD optimizer{net.parameters()};
  std::ostringstream out;
};

TEST_F(StateKeeperTest, AnyErrorOfSavingIsAWarning) {
  StateKeeper states = keeper("continue");
  testing::internal::CaptureStderr();
  states.after_step(1, {});
  states.finish(2, {});
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              HasSubstr("is not UTF-8; training is over and needs it no more\n"));
}

TEST_F(StateKeeperTest, OrEndsTheRunAsTold) {
  StateKeeper states = keeper("stop");
  EXPECT_THAT(message_of<IOError>([&] { states.finish(1, {}); }), testing::EndsWith("is not UTF-8"));
}

TEST_F(StateKeeperTest, ASignalEndsTheRunWithItsStatusThoughNoStateIsSaved) {
  StateKeeper states = keeper("continue");
  std::raise(SIGTERM);
  try {
    states.after_step(1, {});
    FAIL() << "goes on";
  } catch (const Interrupted& error) {
    EXPECT_EQ(error.status(), 128 + SIGTERM);
    EXPECT_THAT(error.what(), HasSubstr("; a state could not be saved: "));
    EXPECT_THAT(error.what(), HasSubstr("is not UTF-8"));
  }
}

}  // namespace
}  // namespace thimble::apps
