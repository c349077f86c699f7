#include <algorithm>
#include <limits>
#include <sstream>

#include "tests/apps/program.h"
#include <thimble/serialization/training_state.h>
#include <thimble/serialization/training_state_folder.h>

namespace thimble::apps {
namespace {

using nlohmann::json;
using testing::HasSubstr;
namespace fs = std::filesystem;

// Three epochs of ten steps.
class ResumeTest : public ProgramTest {
 protected:
  static std::vector<std::string> with_epochs(std::vector<std::string> line, const std::string& epochs) {
    line[static_cast<size_t>(std::ranges::find(line, "--epochs") - line.begin()) + 1] = epochs;
    return line;
  }
  // One that does not end by itself.
  static std::vector<std::string> endless(const std::string& every) {
    std::vector<std::string> line =
        with_epochs(training("m.st", {"--save-state", "states", "--save-every", every}), "1000000");
    line.insert(line.begin(), THIMBLE_PROGRAM);
    return line;
  }
  // Once it has saved a state it is surely training.
  void wait_for_state(int64_t after) const {
    for (int i = 0; i < 60000 && newest_step() <= after; ++i) usleep(1000);
  }
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
  fs::path state(int64_t step) const { return folder / ("states/state-" + std::to_string(step) + ".safetensors"); }
  // Steps are short, and states that still wait to be written give way to the next; but not the last before the end.
  // So `step` must be more than half of the run's steps, and less than all.
  static std::vector<std::string> saving_only(int64_t step) {
    return {"--save-state", "states", "--save-every", std::to_string(step)};
  }
  /// Leaves the state after this step of the run, and no other.
  void make_state(const std::vector<std::string>& line, int64_t step, int64_t steps) const {
    ASSERT_GT(2 * step, steps);
    fs::remove_all(folder / "states");
    const Result result = run(line);
    ASSERT_EQ(result.status, 0) << result.err;
    ASSERT_TRUE(fs::exists(state(step)));
    ASSERT_TRUE(step == steps || fs::remove(state(steps)));
  }
  /// What the program says when it goes on from that state.
  static std::string going_on_from(int64_t step, int64_t steps_per_epoch) {
    const int64_t epochs = (step - 1) / steps_per_epoch;  // over before this step's
    return str("going on from 'states/state-", step, ".safetensors', after step ", step - epochs * steps_per_epoch,
               " of epoch ", epochs + 1, '\n');
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
  // In the middle of an epoch, at its end and after it.
  for (const int64_t step : {16, 19, 20, 21, 25, 29}) {
    SCOPED_TRACE(step);
    make_state(training("first.st", saving_only(step)), step, 30);
    ASSERT_EQ(bytes("first.st"), bytes("whole.st"));
    const Result result = run(training("resumed.st", saving({"--resume", "states", "--json", "resumed.json"})));
    ASSERT_EQ(result.status, 0) << result.err;
    EXPECT_THAT(result.out, HasSubstr(going_on_from(step, 10)));
    json resumed = json::parse(bytes("resumed.json"));
    forget_times(resumed);
    EXPECT_EQ(resumed, expected);
    EXPECT_EQ(bytes("resumed.st"), bytes("whole.st"));
    EXPECT_TRUE(fs::exists(state(30)));
  }
}

TEST_F(ResumeTest, WithinTheFirstEpochToo) {
  const auto line = [](const std::string& out, std::vector<std::string> more = {}) {
    return with_epochs(training(out, more), "1");
  };
  ASSERT_EQ(run(line("whole.st")).status, 0);
  for (const int64_t step : {6, 9}) {
    SCOPED_TRACE(step);
    make_state(line("first.st", saving_only(step)), step, 10);
    const Result resumed = run(line("resumed.st", {"--resume", "states"}));
    ASSERT_EQ(resumed.status, 0) << resumed.err;
    EXPECT_THAT(resumed.out, HasSubstr(going_on_from(step, 10)));
    EXPECT_EQ(bytes("resumed.st"), bytes("whole.st"));
  }
}

TEST_F(ResumeTest, WithAnotherNumberOfThreadsTheBitsAreTheSame) {
  const auto with_threads = [](const std::string& threads, std::vector<std::string> line) {
    line[static_cast<size_t>(std::ranges::find(line, "--threads") - line.begin()) + 1] = threads;
    return line;
  };
  ASSERT_EQ(run(with_threads("1", training("whole.st"))).status, 0);
  make_state(with_threads("3", training("first.st", saving_only(16))), 16, 30);
  const Result resumed = run(with_threads("2", training("resumed.st", {"--resume", "states"})));
  ASSERT_EQ(resumed.status, 0) << resumed.err;
  EXPECT_THAT(resumed.out, HasSubstr(going_on_from(16, 10)));
  EXPECT_EQ(bytes("resumed.st"), bytes("whole.st"));
}

TEST_F(ResumeTest, WithoutAStateTheRunBeginsAtTheStart) {
  ASSERT_EQ(run(training("whole.st")).status, 0);
  const Result result = run(training("m.st", saving({"--resume", "states"})));
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("no state in 'states': training from the start\n"));
  EXPECT_EQ(bytes("m.st"), bytes("whole.st"));
}

TEST_F(ResumeTest, StatesOfStepsThatTheRunDoesNotHaveAreRefused) {
  ASSERT_EQ(run(training("m.st", saving())).status, 0);
  const TrainingState good = load_training_state(state(30));
  const auto refused = [&](const char* key, int64_t value, const std::string& why) {
    SCOPED_TRACE(key);
    TrainingState wrong = good;
    wrong.progress.set(key, value);
    save_training_state(state(30), wrong);
    expect_failure(training("n.st", {"--resume", "states"}), 1, why);
  };
  refused("step", 1, "is after step 1 of epoch 4, but the run has 3 epochs of 10 steps");
  for (const char* key : {"step", "examples"})
    for (const int64_t value : {int64_t{-1}, std::numeric_limits<int64_t>::max()})
      refused(key, value, str(key, " is ", value));
  EXPECT_FALSE(fs::exists(folder / "n.st"));
}

TEST_F(ResumeTest, NoOutputTakesANameThatStatesHave) {
  fs::create_directory(folder / "there");
  for (const std::string states : {"there", "there/", "new", "new/"})
    for (const char* file : {"", "/.lock", "/state-1.safetensors", "/./.state-1.tmp"}) {
      SCOPED_TRACE(states + ' ' + file);
      const std::string name = states.substr(0, states.find('/')) + file;
      expect_failure({"train", "--data", "nowhere", "--out", name, "--save-state", states}, 2, "--out: '" + name);
      expect_failure({"train", "--data", "nowhere", "--out", "m.st", "--json", name, "--save-state", states}, 2,
                     "keeps for itself; choose another name");
    }
  ASSERT_EQ(run(training("there/m.st", {"--save-state", "there"})).status, 0);
  EXPECT_TRUE(fs::exists(folder / "there/m.st"));
}

TEST_F(ResumeTest, AStateCanBeInspectedAndIsNoModel) {
  make_state(training("m.st", saving_only(21)), 21, 30);
  const std::string file = "states/state-21.safetensors";
  const Result shown = run({"inspect", file});
  EXPECT_EQ(shown.status, 0) << shown.err;
  for (const char* part : {"a training state of a run of thimble train, after step 1 of epoch 3\n", "\n  epoch=2\n",
                           "\n  step=1\n", "\n  settings.--batch-size=20\n", "\n  learning rate=0."})
    EXPECT_THAT(shown.out, HasSubstr(part));
  ASSERT_EQ(run(training("m.st", {"--save-state", "over"})).status, 0);
  EXPECT_THAT(run({"inspect", "over/state-30.safetensors"}).out, HasSubstr("thimble train, after epoch 3\n"));
  expect_failure({"eval", file, "--data", "data"}, 1, "it is the state of a training run");
  fs::copy_file(folder / "m.st", state(22));
  expect_failure(training("n.st", {"--resume", "states"}), 1,
                 "it is a model, not a training state; move it away to go on from an earlier state");
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
  make_state(line("first.st", saving_only(3)), 3, 4);
  const Result resumed = run(line("resumed.st", {"--resume", "states"}));
  ASSERT_EQ(resumed.status, 0) << resumed.err;
  EXPECT_THAT(resumed.out, HasSubstr(going_on_from(3, 4)));
  EXPECT_EQ(bytes("resumed.st"), bytes("whole.st"));
}

TEST_F(ResumeTest, MixedPrecisionToo) {
  const auto line = [](const std::string& out, std::vector<std::string> more = {}) {
    more.insert(more.end(), {"--precision", "bf16"});
    return training(out, more);
  };
  const json result = json_of(line("whole.st"));
  EXPECT_EQ(result.at("precision"), "bf16");
  make_state(line("first.st", saving_only(25)), 25, 30);
  expect_failure(
      training("m.st", {"--resume", "states"}), 1,
      "is of a run with --precision=\"bf16\", this one has --precision=\"float32\"; go on with the same options");
  const Result resumed = run(line("resumed.st", {"--resume", "states"}));
  ASSERT_EQ(resumed.status, 0) << resumed.err;
  EXPECT_THAT(resumed.out, HasSubstr(going_on_from(25, 10)));
  EXPECT_EQ(bytes("resumed.st"), bytes("whole.st"));
  EXPECT_THAT(run({"inspect", "whole.st"}).out, HasSubstr("precision=\"bf16\""));
  ASSERT_EQ(run(training("float32.st")).status, 0);
  EXPECT_NE(bytes("float32.st"), bytes("whole.st"));
}

TEST_F(ResumeTest, StatesThatDoNotSayTheirPrecisionAreOfFloat32) {
  ASSERT_EQ(run(training("whole.st")).status, 0);
  make_state(training("first.st", saving_only(25)), 25, 30);
  TrainingState old = load_training_state(state(25));
  Attributes without;
  for (const auto& [key, value] : old.progress)
    if (key != "settings.--precision") without.set(key, value);
  old.progress = without;
  save_training_state(state(25), old);
  expect_failure(training("m.st", {"--resume", "states", "--precision", "bf16"}), 1,
                 "is of a run with --precision=\"float32\", this one has --precision=\"bf16\"");
  ASSERT_EQ(run(training("resumed.st", {"--resume", "states"})).status, 0);
  EXPECT_EQ(bytes("resumed.st"), bytes("whole.st"));
}

TEST_F(ResumeTest, KeepsTheLastStates) {
  ASSERT_EQ(run(training("m.st", {"--save-state", "states", "--save-every", "4", "--keep-states", "2"})).status, 0);
  EXPECT_TRUE(fs::exists(state(30)));
  EXPECT_LE(std::distance(fs::directory_iterator(folder / "states"), {}), 3);  // with the lock
}

TEST_F(ResumeTest, DamagedStatesArePassedOverWithAWarning) {
  ASSERT_EQ(run(training("whole.st", saving())).status, 0);
  write_bytes(state(31), read_bytes(state(30)).substr(0, 1000));
  write_bytes(state(32), "");
  const Result result = run(training("resumed.st", saving({"--resume", "states"})));
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("warning: 'states/state-31.safetensors'"));
  EXPECT_EQ(std::ranges::count(result.err, '\n'), 2) << result.err;
  EXPECT_THAT(result.out, HasSubstr("'states/state-30.safetensors' is the end of the run"));
  EXPECT_EQ(bytes("resumed.st"), bytes("whole.st"));
}

TEST_F(ResumeTest, ARunThatWasOverSaysSoAndItsModelIsWritten) {
  ASSERT_EQ(run(training("whole.st", saving())).status, 0);
  const Result result = run(training("again.st", {"--resume", "states"}));
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("is the end of the run, after epoch 3 of 3: nothing is left to train\n"));
  EXPECT_THAT(result.out, testing::Not(HasSubstr("going on")));
  EXPECT_THAT(result.out, HasSubstr("saved again.st"));
  EXPECT_EQ(bytes("again.st"), bytes("whole.st"));
}

TEST_F(ResumeTest, ARunWithOtherSettingsIsAnother) {
  ASSERT_EQ(run(training("m.st", saving())).status, 0);
  expect_failure(training("n.st", {"--resume", "states", "--seed", "2"}), 1, "of a run with --seed=\"1\"");
  expect_failure(training("n.st", {"--resume", "states", "--weight-decay", "0.1"}), 1, "no --weight-decay");
  std::vector<std::string> other_rate = training("n.st", {"--resume", "states"});
  std::ranges::replace(other_rate, "0.01", "0.0100000001");
  expect_failure(other_rate, 1, "of a run with --lr=0.01, this one has --lr=0.0100000001");
  expect_failure(training("n.st", saving()), 1, "holds states of a run already");
  expect_failure(training("n.st", {"--resume", "nowhere"}), 1, "nowhere");
  EXPECT_FALSE(fs::exists(folder / "n.st"));
}

TEST_F(ResumeTest, ARunOnOtherDataIsAnother) {
  ASSERT_EQ(run(training("m.st", saving())).status, 0);
  const std::string labels = "data/train-labels-idx1-ubyte", good = bytes(labels);
  write_bytes(folder / labels, good.substr(0, good.size() - 2) + good.back() + good[good.size() - 2]);
  expect_failure(training("n.st", {"--resume", "states"}), 1,
                 "of a run with training data=\"200 images [144], checksum ");
  write_dataset(folder / "data", kSize + 1);
  expect_failure(training("n.st", {"--resume", "states"}), 1, "training data=\"200 images [169], checksum ");
}

TEST_F(ResumeTest, AFolderIsOneRunsAlone) {
  const TrainingStateFolder other(folder / "states");
  expect_failure(training("m.st", saving()), 1, "another run saves its states there");
}

TEST_F(ResumeTest, OptionsThatNeedAFolderSaySo) {
  expect_failure(training("m.st", {"--save-every", "3"}), 2, "--save-state");
  expect_failure(training("m.st", saving({"--save-every", "0"})), 2, "--save-every");
}

TEST_F(ResumeTest, FoldersWithoutANameAreRefused) {
  train("float.st");
  for (const char* option : {"--save-state", "--resume"}) {
    expect_failure(training("m.st", {option, ""}), 2, std::string(option) + ": The name of the folder is empty");
    expect_failure({"quantize", "float.st", "--data", "data", "--method", "qat", "--out", "q.st", option, ""}, 2,
                   std::string(option) + ": The name of the folder is empty");
  }
  expect_files({"float.st"});
}

// Diverged in its only step, which no loss has seen: the test's is NaN.
TEST_F(ResumeTest, ARunWhoseResultIsNaNIsSavedToo) {
  const auto line = [](const std::string& out, const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments{"train", "--data",    "data", "--hidden", "16",  "--layers",
                                       "9",     "--epochs",  "1",    "--lr",     "1e6", "--batch-size",
                                       "200",   "--threads", "1",    "--out",    out};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  };
  const json whole = json_of(line("whole.st"));
  ASSERT_TRUE(whole["epochs"][0]["test_loss"].is_null());  // JSON has no NaN
  const Result saved = run(line("m.st", saving()));
  EXPECT_EQ(saved.status, 0);
  EXPECT_EQ(saved.err, "");
  EXPECT_EQ(bytes("m.st"), bytes("whole.st"));
  const json resumed = json_of(line("resumed.st", {"--resume", "states"}));
  EXPECT_TRUE(resumed["epochs"][0]["test_loss"].is_null());
  EXPECT_EQ(bytes("resumed.st"), bytes("whole.st"));
}

TEST_F(ResumeTest, AStateThatCannotBeReadStopsTheRun) {
  ASSERT_EQ(run(training("m.st", saving())).status, 0);
  fs::permissions(state(30), fs::perms::none);
  const WithoutPowers nobody;
  expect_failure(training("/dev/null", {"--resume", "states"}), 1, "states/state-30.safetensors");
}

// Files may not grow: a disk that is full.
TEST_F(ResumeTest, WithoutRoomTrainingGoesOnOrStopsAsTold) {
  ASSERT_EQ(run(training("whole.st")).status, 0);
  const auto model_size = fs::file_size(folder / "whole.st");
  const auto room = static_cast<rlim_t>(model_size + 1024);  // for the model, but not for moments besides
  const Result on = run(training("on.st", saving()), room);
  EXPECT_EQ(on.status, 0) << on.err;
  EXPECT_THAT(on.err, HasSubstr("warning: cannot write 'states/state-"));
  EXPECT_THAT(on.err, testing::EndsWith("; training is over and needs it no more\n"));
  EXPECT_EQ(bytes("on.st"), bytes("whole.st"));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder / "states"), {}), 1);  // the lock

  const Result stopped = run(training("stopped.st", saving({"--on-save-error", "stop"})), room);
  expect_failure(stopped, 1, "cannot write 'states/state-");
  EXPECT_THAT(stopped.err, testing::EndsWith("(ulimit -f)\n"));
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
  std::vector<std::string> line = endless("100");
  int64_t last = 0;
  for (const auto& [signal, name] : {std::pair{SIGINT, "SIGINT"}, {SIGTERM, "SIGTERM"}, {SIGHUP, "SIGHUP"}}) {
    const Result result = execute(line, RLIM_INFINITY, "", [&, signal = signal](pid_t process) {
      wait_for_state(last);
      for (int i = 0; i < 2; ++i) kill(process, signal);  // as a shell and the kernel do when the terminal has gone
    });
    expect_failure(result, 128 + signal, str("stopped by ", name));
    EXPECT_EQ(result.out.find("going on from 'states/state-") != std::string::npos, last > 0) << result.out;
    EXPECT_GT(newest_step(), last);
    last = newest_step();
    if (signal == SIGINT) line.insert(line.end(), {"--resume", "states"});
  }
  EXPECT_FALSE(fs::exists(folder / "m.st"));
}

// Three epochs of four steps; in the last three, ranges stay as they are.
class ResumeQatTest : public ResumeTest {
 protected:
  static std::vector<std::string> tuning(const std::string& out, const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments{"quantize", "float.st", "--data",       "data", "--method",  "qat",
                                       "--epochs", "3",        "--batch-size", "50",   "--threads", "1",
                                       "--out",    out};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  void expect_same_from_any_step(const std::vector<std::string>& more) {
    SCOPED_TRACE(testing::PrintToString(more));
    const auto with = [&](std::vector<std::string> options) {
      options.insert(options.end(), more.begin(), more.end());
      return options;
    };
    const Result whole = run(tuning("whole.st", more));
    ASSERT_EQ(whole.status, 0) << whole.err;
    const auto expect_same = [&](int64_t step, const std::string& going_on) {
      SCOPED_TRACE(step);
      const Result resumed = run(tuning("resumed.st", with(saving({"--resume", "states"}))));
      ASSERT_EQ(resumed.status, 0) << resumed.err;
      EXPECT_THAT(resumed.out, HasSubstr(going_on));
      const std::vector<std::string> all = epochs_said(whole), rest = epochs_said(resumed);
      ASSERT_LE(rest.size(), all.size());
      EXPECT_TRUE(std::equal(rest.rbegin(), rest.rend(), all.rbegin())) << resumed.out;
      EXPECT_EQ(bytes("resumed.st"), bytes("whole.st"));
    };
    for (int64_t step = 7; step <= 11; ++step) {
      make_state(tuning("first.st", with(saving_only(step))), step, 12);
      ASSERT_EQ(bytes("first.st"), bytes("whole.st"));
      expect_same(step, going_on_from(step, 4));
    }
    make_state(tuning("first.st", with(saving_only(12))), 12, 12);
    expect_same(12, "is the end of the run");
    back_before_the_last_evaluation();
    expect_same(12, "after step 4 of epoch 3");
  }
  // Loss and accuracy of each epoch.
  static std::vector<std::string> epochs_said(const Result& result) {
    std::vector<std::string> lines;
    std::istringstream out(result.out);
    for (std::string line; std::getline(out, line);)
      if (line.starts_with("epoch ")) lines.push_back(line.substr(0, line.find('%')));
    return lines;
  }
  // The sum whose mean is this, to the last bit.
  static double sum_of_mean(double mean, int64_t count) {
    const auto n = static_cast<double>(count);
    double sum = mean * n;
    while (sum / n < mean) sum = std::nextafter(sum, std::numeric_limits<double>::infinity());
    while (sum / n > mean) sum = std::nextafter(sum, -std::numeric_limits<double>::infinity());
    return sum;
  }
  // Makes of the state at the end of the run the one that is saved after its last step.
  void back_before_the_last_evaluation() const {
    TrainingState end = load_training_state(state(12));
    Attributes& progress = end.progress;
    for (const auto& [name, value] : Attributes(progress)) {
      if (!name.starts_with("epochs.")) continue;
      auto values = std::get<std::vector<double>>(value);
      if (name == "epochs.train_loss") progress.set("sums.loss", sum_of_mean(values.back(), 200));
      if (name == "epochs.train_accuracy") progress.set("sums.accuracy", sum_of_mean(values.back(), 200));
      values.pop_back();
      progress.set(name, values);
    }
    for (const auto& [name, value] :
         {std::pair{"epoch", 2}, {"step", 4}, {"examples", 200}, {"examples.loss", 200}, {"examples.accuracy", 200}})
      progress.set(name, int64_t{value});
    progress.set("means.0", std::string("loss"));
    progress.set("means.1", std::string("accuracy"));
    save_training_state(state(12), end);
  }
};

TEST_F(ResumeQatTest, FromAnyStepTheResultIsTheSame) {
  train("float.st");
  expect_same_from_any_step({});
  expect_same_from_any_step({"--lsq"});
}

TEST_F(ResumeQatTest, OfAConvolutionalModelToo) {
  write_dataset(folder / "data", 28);
  ASSERT_EQ(run({"train", "--data", "data", "--model", "cnn", "--epochs", "1", "--out", "float.st"}).status, 0);
  expect_same_from_any_step({"--observer", "percentile"});
}

TEST_F(ResumeQatTest, OtherModelsSettingsAndMethodsAreRefused) {
  train("float.st");
  ASSERT_EQ(run(tuning("q.st", saving())).status, 0);
  expect_failure(tuning("r.st", {"--resume", "states", "--weight-bits", "4"}), 1, "of a run with --weight-bits=8");
  expect_failure(training("r.st", {"--resume", "states"}), 1,
                 "'states/state-12.safetensors' is of a run of thimble quantize, and this is thimble train");
  expect_failure({"quantize", "float.st", "--out", "r.st", "--method", "static", "--save-state", "x"}, 2,
                 "--save-state");
  ASSERT_EQ(run(training("float.st", {"--seed", "5"})).status, 0);
  expect_failure(tuning("r.st", {"--resume", "states"}), 1, "model=\"checksum ");
}

TEST_F(ResumeTest, SignalsEndTheRunWhereNothingCanBeSavedToo) {
  const Result result = execute(endless("100"), RLIM_INFINITY, "", [&](pid_t process) {
    wait_for_state(0);
    kill(process, SIGSTOP);
    int stopped = 0;
    waitpid(process, &stopped, WUNTRACED);
    fs::remove_all(folder / "states");
    kill(process, SIGINT);
    kill(process, SIGCONT);
  });
  EXPECT_EQ(result.status, 128 + SIGINT) << result.err;
  const std::string last_line = result.err.substr(result.err.rfind("thimble: "));
  EXPECT_THAT(last_line, testing::StartsWith("thimble: stopped by SIGINT after step "));
  EXPECT_THAT(last_line, HasSubstr("; a state could not be saved: cannot write 'states/state-"));
  EXPECT_THAT(last_line, Not(HasSubstr("go on with")));
}

}  // namespace
}  // namespace thimble::apps
