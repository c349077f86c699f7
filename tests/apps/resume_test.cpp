#include "tests/apps/program.h"
#include <thimble/serialization/training_state_folder.h>

namespace thimble::apps {
namespace {

using nlohmann::json;
using testing::HasSubstr;
namespace fs = std::filesystem;

// Three epochs of ten steps.
class ResumeTest : public ProgramTest {
 protected:
  static std::vector<std::string> saving(const std::vector<std::string>& more = {}) {
    std::vector<std::string> options{"--save-state", "states", "--save-every", "1", "--keep-states", "100"};
    options.insert(options.end(), more.begin(), more.end());
    return options;
  }
  int64_t newest_step() const {
    if (!has_training_states(folder / "states")) return 0;
    const auto found = newest_training_state(folder / "states");
    const Attributes& progress = found->state.progress;
    return progress.get<int64_t>("epoch") * 10 + progress.get<int64_t>("step");
  }
  // Steps are short: a state may have given way to the next before it was written.
  fs::path state(int64_t step) const { return folder / ("states/state-" + std::to_string(step) + ".safetensors"); }
  void forget_after(int64_t last) const {
    for (int64_t step = last + 1; step <= 30; ++step) fs::remove(state(step));
  }
  static void forget_times(json& result) {
    result.erase("out");
    for (json& epoch : result["epochs"]) {
      epoch.erase("seconds");
      epoch.erase("images_per_second");
    }
  }
};

TEST_F(ResumeTest, FromAnyStepTheResultIsTheSame) {
  json expected = json_of(training("whole.st"));
  forget_times(expected);
  for (const int64_t step : {30, 29, 21, 20, 10, 9, 4, 1, 0}) {
    SCOPED_TRACE(step);
    fs::remove_all(folder / "states");
    ASSERT_EQ(run(training("first.st", saving())).status, 0);
    ASSERT_EQ(bytes("first.st"), bytes("whole.st"));
    forget_after(step);
    json resumed = json_of(training("resumed.st", saving({"--resume", "states"})));
    forget_times(resumed);
    EXPECT_EQ(resumed, expected);
    EXPECT_EQ(bytes("resumed.st"), bytes("whole.st"));
    EXPECT_TRUE(fs::exists(state(30)));
  }
}

TEST_F(ResumeTest, CnnAndSgdToo) {
  const auto line = [](const std::string& out, const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments{"train", "--data", "data",  "--model", "cnn",         "--epochs", "1",
                                       "--lr",  "0.01",   "--out", out,       "--optimizer", "sgd"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  };
  write_dataset(folder / "data", 28);
  ASSERT_EQ(run(line("whole.st")).status, 0);
  ASSERT_EQ(run(line("first.st", saving())).status, 0);
  fs::remove(state(3));
  fs::remove(state(4));
  ASSERT_EQ(run(line("resumed.st", {"--resume", "states"})).status, 0);
  EXPECT_EQ(bytes("resumed.st"), bytes("whole.st"));
}

TEST_F(ResumeTest, KeepsTheLastStates) {
  ASSERT_EQ(run(training("m.st", {"--save-state", "states", "--save-every", "4", "--keep-states", "2"})).status, 0);
  EXPECT_TRUE(fs::exists(state(30)));
  EXPECT_LE(std::distance(fs::directory_iterator(folder / "states"), {}), 2);
}

TEST_F(ResumeTest, DamagedStatesArePassedOverWithAWarning) {
  ASSERT_EQ(run(training("whole.st", saving())).status, 0);
  write_bytes(state(31), read_bytes(state(30)).substr(0, 1000));
  write_bytes(state(32), "");
  const Result result = run(training("resumed.st", saving({"--resume", "states"})));
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("warning: 'states/state-31.safetensors'"));
  EXPECT_EQ(std::ranges::count(result.err, '\n'), 2) << result.err;
  EXPECT_THAT(result.out, HasSubstr("going on from 'states/state-30.safetensors'"));
  EXPECT_EQ(bytes("resumed.st"), bytes("whole.st"));
}

TEST_F(ResumeTest, ARunWithOtherSettingsIsAnother) {
  ASSERT_EQ(run(training("m.st", saving())).status, 0);
  expect_failure(training("n.st", {"--resume", "states", "--seed", "2"}), 1, "of a run with --seed=\"1\"");
  expect_failure(training("n.st", {"--resume", "states", "--weight-decay", "0.1"}), 1, "no --weight-decay");
  expect_failure(training("n.st", saving()), 1, "holds the states of another run");
  expect_failure(training("n.st", {"--resume", "nowhere"}), 1, "nowhere");
  EXPECT_FALSE(fs::exists(folder / "n.st"));
}

TEST_F(ResumeTest, AFolderIsOneRunsAlone) {
  const TrainingStateFolder other(folder / "states");
  expect_failure(training("m.st", saving()), 1, "another run saves its states there");
}

TEST_F(ResumeTest, OptionsThatNeedAFolderSaySo) {
  expect_failure(training("m.st", {"--save-every", "3"}), 2, "--save-state");
  expect_failure(training("m.st", saving({"--save-every", "0"})), 2, "--save-every");
}

// Files may not grow: a disk that is full.
TEST_F(ResumeTest, WithoutRoomTrainingGoesOnOrStopsAsTold) {
  ASSERT_EQ(run(training("whole.st")).status, 0);
  const auto model_size = fs::file_size(folder / "whole.st");
  const auto room = static_cast<rlim_t>(model_size + 1024);  // for the model, but not for moments besides
  const Result on = run(training("on.st", saving()), room);
  EXPECT_EQ(on.status, 0) << on.err;
  EXPECT_THAT(on.err, HasSubstr("warning: cannot write 'states/state-"));
  EXPECT_THAT(on.err, HasSubstr("training goes on"));
  EXPECT_EQ(bytes("on.st"), bytes("whole.st"));
  EXPECT_TRUE(fs::is_empty(folder / "states"));

  const Result stopped = run(training("stopped.st", saving({"--on-save-error", "stop"})), room);
  expect_failure(stopped, 1, "cannot write 'states/state-");
  EXPECT_FALSE(fs::exists(folder / "stopped.st"));
}

TEST_F(ResumeTest, WithoutRoomTheStateBeforeStays) {
  ASSERT_EQ(run(training("whole.st", saving())).status, 0);
  const std::string before = read_bytes(state(30));
  const std::vector<std::string> again = training("m.st", saving({"--resume", "states", "--on-save-error", "stop"}));
  expect_failure(run(again, before.size() / 2), 1, "states/state-30.safetensors");
  EXPECT_EQ(read_bytes(state(30)), before);
  ASSERT_EQ(run(again).status, 0);
  EXPECT_EQ(bytes("m.st"), bytes("whole.st"));
}

TEST_F(ResumeTest, SignalsSaveAndEndTheRun) {
  std::vector<std::string> line = training("m.st", {"--save-state", "states", "--save-every", "100"});
  line[static_cast<size_t>(std::ranges::find(line, "--epochs") - line.begin()) + 1] = "1000000";
  line.insert(line.begin(), THIMBLE_PROGRAM);
  int64_t last = 0;
  for (const int signal : {SIGINT, SIGTERM}) {
    // Once it has saved a state it is surely training.
    const Result result = execute(line, RLIM_INFINITY, "", [&](pid_t process) {
      for (int i = 0; i < 60000 && newest_step() <= last; ++i) usleep(1000);
      kill(process, signal);
    });
    expect_failure(result, 128 + signal, signal == SIGINT ? "stopped by SIGINT" : "stopped by SIGTERM");
    EXPECT_EQ(result.out.find("going on from 'states/state-") != std::string::npos, last > 0) << result.out;
    EXPECT_GT(newest_step(), last);
    last = newest_step();
    if (signal == SIGINT) line.insert(line.end(), {"--resume", "states"});
  }
  EXPECT_FALSE(fs::exists(folder / "m.st"));
}

}  // namespace
}  // namespace thimble::apps
