#include "tests/serialization/files.h"
#include <thimble/core/ops/loss.h>
#include <thimble/nn/activation.h>
#include <thimble/nn/batch_norm.h>
#include <thimble/nn/container.h>
#include <thimble/nn/dropout.h>
#include <thimble/nn/linear.h>
#include <thimble/serialization/safetensors.h>
#include <thimble/serialization/training_state.h>
#include <thimble/serialization/training_state_folder.h>

namespace thimble {
namespace {

// A network whose next step depends on all that a state holds: parameters, running statistics, moments, and the
// generator, by dropout and by its data.
struct TrainingRun {
  TrainingRun() { manual_seed(7); }

  double step() {
    const Tensor x = randn({8, 6}, default_generator());
    const Tensor labels = NDArray::from_vector(std::vector<int64_t>{0, 1, 2, 0, 1, 2, 0, 1});
    const Tensor loss = cross_entropy(net(x), labels);
    optimizer.zero_grad();
    loss.backward();
    optimizer.set_lr(optimizer.lr() * 0.9);
    optimizer.step();
    return loss.item<double>();
  }
  std::vector<double> steps(int n) {
    std::vector<double> losses;
    for (int i = 0; i < n; ++i) losses.push_back(step());
    return losses;
  }
  TrainingState state(const Attributes& progress = {}) {
    return capture(net, optimizer, default_generator(), progress);
  }
  void restore(const TrainingState& state) { thimble::restore(state, net, optimizer, default_generator()); }

  nn::Sequential net{nn::Linear(6, 12), nn::BatchNorm1d(12), nn::ReLU(), nn::Dropout(0.3), nn::Linear(12, 3)};
  optim::AdamW optimizer{net.parameters()};
};

TEST(TrainingStateTest, ARunGoesOnWithTheSameLosses) {
  TempFolder folder;
  TrainingRun run;
  run.steps(5);
  save_training_state(folder / "s", run.state({{"epoch", int64_t{3}}}));
  const std::vector<double> expected = run.steps(10);
  run.steps(3);  // and somewhere else

  TrainingRun resumed;
  const TrainingState state = load_training_state(folder / "s");
  EXPECT_EQ(state.progress, (Attributes{{"epoch", int64_t{3}}}));
  resumed.restore(state);
  EXPECT_EQ(resumed.steps(10), expected);
}

TEST(TrainingStateTest, ACopyStaysAsItWas) {
  TrainingRun run;
  run.steps(2);
  const TrainingState state = run.state();
  const std::vector<double> expected = run.steps(4);
  run.restore(state);
  EXPECT_EQ(run.steps(4), expected);
  run.restore(state);  // nor does a restored run change it
  EXPECT_EQ(run.steps(4), expected);
}

TEST(TrainingStateTest, AStateOfAnotherModelIsRefused) {
  TrainingRun run;
  TrainingState state = run.state();
  nn::Linear other(6, 3);
  optim::SGD sgd(other.parameters(), {.momentum = 0.9});
  Generator generator;
  EXPECT_THROW(restore(state, other, sgd, generator), Error);
}

TEST(TrainingStateTest, FilesThatAreNoStatesAreRefused) {
  TempFolder folder;
  save_safetensors(folder / "model", {{"format", "thimble"}}, {});
  EXPECT_THROW(load_training_state(folder / "model"), FormatError);
  TrainingRun run;
  save_training_state(folder / "s", run.state());
  TensorFile file = load_safetensors(folder / "s");
  auto tensors = file.tensors;
  tensors.emplace_back("stranger", NDArray::zeros({2}));
  save_safetensors(folder / "more", file.metadata, tensors);
  EXPECT_THROW(load_training_state(folder / "more"), FormatError);
  auto metadata = file.metadata;
  metadata["format_version"] = "2.0";
  save_safetensors(folder / "newer", metadata, file.tensors);
  EXPECT_THROW(load_training_state(folder / "newer"), FormatError);
  metadata = file.metadata;
  metadata["run"] = "{}";
  save_safetensors(folder / "less", metadata, file.tensors);
  EXPECT_THROW(load_training_state(folder / "less"), FormatError);
}

TEST(TrainingStateTest, AFlippedBitIsFound) {
  TempFolder folder;
  TrainingRun run;
  run.step();
  save_training_state(folder / "s", run.state());
  const std::string good = read_bytes(folder / "s");
  Generator generator(3);
  for (int i = 0; i < 200; ++i) {
    std::string bytes = good;
    const size_t at = generator.below(bytes.size());
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << generator.below(8)));
    write_bytes(folder / "s", bytes);
    EXPECT_THROW(load_training_state(folder / "s"), FormatError) << "byte " << at;
  }
}

class TrainingStateFolderTest : public testing::Test {
 protected:
  void save(int64_t step) {
    run.step();
    states.save(step, run.state({{"step", step}}));
    states.flush();
  }
  int64_t newest() { return newest_training_state(folder / "states")->state.progress.get<int64_t>("step"); }
  std::filesystem::path file(int64_t step) const {
    return folder / ("states/state-" + std::to_string(step) + ".safetensors");
  }

  TempFolder folder;
  TrainingRun run;
  TrainingStateFolder states{folder / "states", 2};
};

TEST_F(TrainingStateFolderTest, KeepsTheLast) {
  EXPECT_FALSE(has_training_states(folder / "states"));
  EXPECT_FALSE(newest_training_state(folder / "states").has_value());
  for (const int64_t step : {8, 9, 10, 11}) {
    save(step);
    EXPECT_EQ(newest(), step);
  }
  EXPECT_TRUE(has_training_states(folder / "states"));
  EXPECT_FALSE(std::filesystem::exists(file(9)));
  EXPECT_TRUE(std::filesystem::exists(file(10)));
}

TEST_F(TrainingStateFolderTest, DamagedStatesArePassedOver) {
  save(1);
  save(2);
  const std::string good = read_bytes(file(2));
  write_bytes(file(2), good.substr(0, good.size() - 1));
  auto found = newest_training_state(folder / "states");
  EXPECT_EQ(found->path, file(1));
  ASSERT_EQ(found->damaged.size(), 1u);
  EXPECT_THAT(found->damaged[0], testing::HasSubstr("state-2.safetensors"));
  write_bytes(file(1), "");
  EXPECT_THROW(newest_training_state(folder / "states"), FormatError);
}

// Were the damaged state to count as one of the last, the run's own would be removed.
TEST_F(TrainingStateFolderTest, StatesOfLaterStepsGiveWay) {
  save(1);
  write_bytes(file(7), "damaged");
  write_bytes(file(8), "damaged");
  save(2);
  save(3);
  EXPECT_EQ(newest(), 3);
  EXPECT_TRUE(std::filesystem::exists(file(2)));
  EXPECT_FALSE(std::filesystem::exists(file(7)));
}

TEST_F(TrainingStateFolderTest, IsOneRunsAlone) { EXPECT_THROW(TrainingStateFolder(folder / "states"), IOError); }

TEST_F(TrainingStateFolderTest, OtherFilesStay) {
  for (const char* name : {"notes", "state-x.safetensors", "state-01.safetensors", "state--1.safetensors"})
    write_bytes(folder / "states" / name, "mine");
  for (const int64_t step : {1, 2, 3}) save(step);
  for (const char* name : {"notes", "state-x.safetensors", "state-01.safetensors", "state--1.safetensors"})
    EXPECT_EQ(read_bytes(folder / "states" / name), "mine");
  EXPECT_EQ(newest(), 3);
}

TEST(TrainingStateFolders, WhatAKilledRunLeftHalfWrittenIsRemoved) {
  TempFolder folder;
  write_bytes(folder / ".thimble-1-0.tmp", "half");
  const TrainingStateFolder states(folder.path());
  EXPECT_FALSE(std::filesystem::exists(folder / ".thimble-1-0.tmp"));
}

TEST(TrainingStateFolders, AnErrorOfSavingIsReportedOnceAndTheNextSaveGoesWell) {
  TempFolder folder;
  TrainingRun run;
  TrainingStateFolder states(folder / "states");
  states.save(1, run.state());
  states.flush();
  std::filesystem::create_directory(folder / "states/state-2.safetensors");  // which no file can replace
  states.save(2, run.state());
  EXPECT_THROW(states.flush(), IOError);
  EXPECT_EQ(newest_training_state(folder / "states")->path.filename(), "state-1.safetensors");
  states.save(3, run.state());
  states.flush();
  EXPECT_EQ(newest_training_state(folder / "states")->path.filename(), "state-3.safetensors");
}

TEST(TrainingStateFolders, MustBeFoldersThatCanBeMade) {
  TempFolder folder;
  write_bytes(folder / "file", "");
  EXPECT_THROW(TrainingStateFolder(folder / "file"), IOError);
  EXPECT_THROW(TrainingStateFolder(folder / "file/states"), IOError);
  EXPECT_THROW(TrainingStateFolder(folder / "states", 0), ValueError);
  EXPECT_THROW(newest_training_state(folder / "missing"), IOError);
}

}  // namespace
}  // namespace thimble
