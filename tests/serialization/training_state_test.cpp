#include <cmath>
#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/forked.h"
#include "tests/serialization/files.h"
#include "tests/training_run.h"
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/reduce.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/nn/training/optim/adagrad.h>
#include <thimble/nn/training/optim/lion.h>
#include <thimble/nn/training/optim/nadam.h>
#include <thimble/nn/training/optim/rmsprop.h>
#include <thimble/serialization/atomic_file.h>
#include <thimble/serialization/safetensors.h>
#include <thimble/serialization/training_state.h>
#include <thimble/serialization/training_state_folder.h>
#include <thimble/serialization/version_error.h>

namespace thimble {
namespace {

TEST(TrainingStateTest, ARunGoesOnWithTheSameLosses) {
  TempFolder folder;
  SmallTrainingRun run;
  run.steps(5);
  save_training_state(folder / "s", run.state({{"epoch", int64_t{3}}}));
  const std::vector<double> expected = run.steps(10);
  run.steps(3);  // and somewhere else

  SmallTrainingRun resumed;
  const TrainingState state = load_training_state(folder / "s");
  EXPECT_EQ(state.progress, (Attributes{{"epoch", int64_t{3}}}));
  resumed.restore(state);
  EXPECT_EQ(resumed.steps(10), expected);
}

TEST(TrainingStateTest, ACopyStaysAsItWas) {
  SmallTrainingRun run;
  run.steps(2);
  const TrainingState state = run.state();
  const std::vector<double> expected = run.steps(4);
  run.restore(state);
  EXPECT_EQ(run.steps(4), expected);
  run.restore(state);  // nor does a restored run change it
  EXPECT_EQ(run.steps(4), expected);
}

// The array of a state with this name.
NDArray& array_of(TrainingState& state, const std::string& name) {
  for (auto* arrays : {&state.model, &state.optimizer})
    for (auto& [own, array] : *arrays)
      if (own == name) return array;
  throw ValueError("there is no " + name);
}

// Each has the optimizer's state of another moment and another learning rate, which must not be taken over.
TEST(TrainingStateTest, AStateThatDoesNotFitChangesNothing) {
  SmallTrainingRun run;
  run.steps(2);
  const TrainingState other = run.state();
  run.steps(2);
  const TrainingState before = run.state();
  const std::vector<double> expected = run.steps(3);
  const auto full = [](int64_t value) { return NDArray::from_vector<int64_t>({value}, {}); };
  const std::vector<std::pair<const char*, std::function<void(TrainingState&)>>> faults{
      {"a tensor that the model lacks", [](TrainingState& s) { s.model.back().first = "fc.weight"; }},
      {"a tensor of another shape", [](TrainingState& s) { s.model.back().second = NDArray::zeros({7}); }},
      {"a tensor that is missing", [](TrainingState& s) { s.model.pop_back(); }},
      {"a moment of another shape", [](TrainingState& s) { array_of(s, "3.exp_avg") = NDArray::zeros({7}); }},
      {"a moment that is missing", [](TrainingState& s) { s.optimizer.pop_back(); }},
      {"a learning rate below 0", [](TrainingState& s) { s.lr = -1; }},
      {"a learning rate that is none", [](TrainingState& s) { s.lr = NAN; }},
      {"steps below 0", [&](TrainingState& s) { array_of(s, "1.step") = full(-1); }},
      {"as many steps as int64 holds", [&](TrainingState& s) { array_of(s, "1.step") = full(INT64_MAX); }},
      {"more steps than doubles count", [&](TrainingState& s) { array_of(s, "1.step") = full(int64_t{1} << 53); }},
  };
  for (const auto& [name, spoil] : faults) {
    SCOPED_TRACE(name);
    run.restore(before);
    TrainingState wrong = other;
    spoil(wrong);
    EXPECT_THROW(run.restore(wrong), Error);
    EXPECT_EQ(run.optimizer.lr(), before.lr);
    EXPECT_EQ(run.steps(3), expected);
  }
  TrainingState most = before;
  array_of(most, "1.step") = full((int64_t{1} << 53) - 1);
  run.restore(most);
  run.step();
}

TEST(TrainingStateTest, ARunWithGroupsOfParametersGoesOnWithTheSameBits) {
  TempFolder folder;
  struct Run {
    nn::Linear a{3, 4}, b{4, 2};
    optim::Adam adam{{{a.parameters(), {.lr = 0.01}}, {b.parameters(), {.lr = 0.1, .weight_decay = 0.01}}}};
    nn::Sequential net;
    Generator generator;

    Run() {
      net.add(std::shared_ptr<nn::Module>(std::shared_ptr<void>(), &a));
      net.add(std::shared_ptr<nn::Module>(std::shared_ptr<void>(), &b));
    }
    std::vector<double> steps(int64_t begin, int64_t end) {
      std::vector<double> losses;
      for (int64_t i = begin; i < end; ++i) {
        adam.set_lr(0.01 / static_cast<double>(i + 1));
        adam.zero_grad();
        const Tensor y = net(Tensor(NDArray::full({2, 3}, 0.1 * static_cast<double>(i))));
        const Tensor loss = sum(y * y);
        losses.push_back(loss.item<double>());
        loss.backward();
        adam.step();
      }
      return losses;
    }
  } run;
  run.steps(0, 3);
  save_training_state(folder / "s", capture(run.net, run.adam, run.generator, {}));
  const std::vector<double> rates = run.adam.lrs(), expected = run.steps(3, 8);

  Run resumed;
  const TrainingState state = load_training_state(folder / "s");
  EXPECT_EQ(state.lr, rates[0]);
  restore(state, resumed.net, resumed.adam, resumed.generator);
  EXPECT_EQ(resumed.adam.lrs(), rates);
  EXPECT_EQ(resumed.steps(3, 8), expected);

  TrainingState wrong = state;
  wrong.optimizer.pop_back();
  const std::vector<double> before = resumed.adam.lrs();
  EXPECT_THROW(restore(wrong, resumed.net, resumed.adam, resumed.generator), ValueError);
  EXPECT_EQ(resumed.adam.lrs(), before);
}

template <typename Optimizer, typename Options>
void expect_goes_on_with_the_same_bits(Options options) {
  TempFolder folder;
  nn::Linear net{3, 4}, resumed_net{3, 4};
  Optimizer optimizer(net.parameters(), options), resumed(resumed_net.parameters(), options);
  const auto steps = [](nn::Module& model, optim::Optimizer& made, int begin, int end) {
    for (int i = begin; i < end; ++i) {
      made.zero_grad();
      const Tensor y = model(Tensor(NDArray::full({2, 3}, 0.1 * i - 0.2)));
      sum(y * y).backward();
      made.step();
    }
  };
  Generator generator;
  steps(net, optimizer, 0, 4);
  save_training_state(folder / "s", capture(net, optimizer, generator, {}));
  steps(net, optimizer, 4, 9);
  restore(load_training_state(folder / "s"), resumed_net, resumed, generator);
  steps(resumed_net, resumed, 4, 9);
  EXPECT_EQ(resumed_net.weight.data().to_vector<float>(), net.weight.data().to_vector<float>());
}

TEST(TrainingStateTest, RunsOfOtherOptimizersGoOnWithTheSameBits) {
  expect_goes_on_with_the_same_bits<optim::AdamW>(optim::AdamWOptions{.lr = 0.1, .amsgrad = true});
  expect_goes_on_with_the_same_bits<optim::RMSprop>(optim::RMSpropOptions{.momentum = 0.9, .centered = true});
  expect_goes_on_with_the_same_bits<optim::Adagrad>(optim::AdagradOptions{.lr_decay = 0.1});
  expect_goes_on_with_the_same_bits<optim::NAdam>(optim::NAdamOptions{.lr = 0.1});
  expect_goes_on_with_the_same_bits<optim::Lion>(optim::LionOptions{.lr = 0.01});
}

// A layer that looks at its arrays only when they are in place.
struct Positive : nn::Module {
  Tensor value = register_buffer("value", NDArray::ones({}));
  Tensor forward(const Tensor& x) override { return x * value; }
  void state_changed() override { check<ValueError>(value.item<float>() > 0, "not positive"); }
};

TEST(TrainingStateTest, AStateThatALayerRefusesChangesNothing) {
  nn::Sequential net{nn::Linear(2, 2), Positive()};
  optim::Adam adam(net.parameters());
  Generator generator;
  const TrainingState before = capture(net, adam, generator, {});
  TrainingState wrong = before;
  wrong.lr = 0.5;
  array_of(wrong, "0.bias") = NDArray::full({2}, 9);
  array_of(wrong, "1.value") = NDArray::full({}, -1);
  EXPECT_THROW(restore(wrong, net, adam, generator), ValueError);
  EXPECT_EQ(adam.lr(), before.lr);
  const TrainingState after = capture(net, adam, generator, {});
  for (size_t i = 0; i < before.model.size(); ++i)
    EXPECT_EQ(after.model[i].second.to_vector<float>(), before.model[i].second.to_vector<float>());
}

TEST(TrainingStateTest, ErrorsAreOneLineWhateverTheNamesAre) {
  SmallTrainingRun run;
  TrainingState wrong = run.state();
  wrong.model.back().first = "two\nlines";
  EXPECT_THAT(message_of<ValueError>([&] { run.restore(wrong); }), testing::HasSubstr("'two\\nlines'"));
}

TEST(TrainingStateTest, LearningRatesThatAreNoneAreFormatErrors) {
  TempFolder folder;
  SmallTrainingRun run;
  TrainingState state = run.state();
  for (const double lr : {-1.0, HUGE_VAL}) {
    state.lr = lr;
    save_training_state(folder / "s", state);
    EXPECT_THROW(load_training_state(folder / "s"), FormatError) << lr;
  }
}

TEST(TrainingStateTest, FilesThatAreNoStatesAreRefused) {
  TempFolder folder;
  save_safetensors(folder / "model", {{"format", "thimble"}}, {});
  EXPECT_THROW(load_training_state(folder / "model"), FormatError);
  SmallTrainingRun run;
  save_training_state(folder / "s", run.state());
  TensorFile file = load_safetensors(folder / "s");
  auto tensors = file.tensors;
  tensors.emplace_back("stranger", NDArray::zeros({2}));
  save_safetensors(folder / "more", file.metadata, tensors);
  EXPECT_THROW(load_training_state(folder / "more"), FormatError);
  auto metadata = file.metadata;
  metadata["format_version"] = "2.0";
  save_safetensors(folder / "newer", metadata, file.tensors);
  EXPECT_THAT(message_of<VersionError>([&] { load_training_state(folder / "newer"); }),
              testing::AllOf(testing::HasSubstr("newer': "), testing::HasSubstr("format version '2.0'")));
  metadata = file.metadata;
  metadata["run"] = "{}";
  save_safetensors(folder / "less", metadata, file.tensors);
  EXPECT_THROW(load_training_state(folder / "less"), FormatError);
}

TEST(TrainingStateTest, AFlippedBitIsFound) {
  TempFolder folder;
  SmallTrainingRun run;
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
  SmallTrainingRun run;
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

TEST_F(TrainingStateFolderTest, WhatWasWaitedForDoesNotGiveWay) {
  for (const int64_t step : {1, 2, 3, 4}) {
    states.save(step, run.state());
    states.wait();
    EXPECT_TRUE(std::filesystem::exists(file(step)));
  }
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

// To go on from an earlier one would remove it, though nothing may be wrong with it.
TEST_F(TrainingStateFolderTest, AStateThatCannotBeReadIsNotPassedOver) {
  save(1);
  save(2);
  std::filesystem::permissions(file(2), std::filesystem::perms::none);
  const WithoutPowers nobody;
  EXPECT_THAT(message_of<IOError>([&] { newest_training_state(folder / "states"); }),
              testing::HasSubstr("state-2.safetensors"));
}

TEST_F(TrainingStateFolderTest, AStateOfALaterProgramIsNotPassedOver) {
  save(1);
  save(2);
  const TensorFile state = load_safetensors(file(2));
  auto metadata = state.metadata;
  metadata["format_version"] = "2.0";
  save_safetensors(file(2), metadata, state.tensors);
  EXPECT_THAT(message_of<VersionError>([&] { newest_training_state(folder / "states"); }),
              testing::AllOf(testing::HasSubstr("state-2.safetensors"), testing::HasSubstr("format version '2.0'")));
}

// Neither a later minor version that uses something unknown nor a later major one whose sums are elsewhere is damaged,
// nor is another whole file of such a name; whichever step it has.
TEST_F(TrainingStateFolderTest, WholeFilesThatAreNoStatesStayAndStopTheRun) {
  save(2);
  const TensorFile state = load_safetensors(file(2));
  const auto with = [&](const std::string& key, const std::string& value) {
    auto metadata = state.metadata;
    metadata[key] = value;
    return metadata;
  };
  auto tensors = state.tensors;
  tensors.emplace_back("scheduler.x", NDArray::ones({1}));
  const std::vector<std::function<void(const std::filesystem::path&)>> writers{
      [&](const auto& path) { save_safetensors(path, with("format_version", "1.2"), tensors); },
      [&](const auto& path) { save_safetensors(path, with("format", "thimble"), state.tensors); },
      [&](const auto& path) {
        save_safetensors(path, with("format_version", "2.0"), state.tensors);
        std::string bytes = read_bytes(path);
        bytes.replace(bytes.find("thimble.crc32"), 13, "thimble.other");
        write_bytes(path, bytes);
      }};
  for (const auto& write : writers) {
    for (const int64_t step : {1, 9}) write(file(step));
    EXPECT_THROW(newest_training_state(folder / "states"), FormatError);
    for (const int64_t step : {3, 4, 5, 6}) save(step);
    for (const int64_t step : {1, 9}) EXPECT_TRUE(std::filesystem::exists(file(step)));
    std::filesystem::remove(file(9));
    EXPECT_EQ(newest(), 6);
  }
}

// As to a run that lists the states of another, which removes them: a link to nothing is listed and cannot be opened.
TEST_F(TrainingStateFolderTest, AStateThatIsGoneMeanwhileIsPassedOver) {
  save(1);
  std::filesystem::create_symlink("nowhere", file(2));
  const auto found = newest_training_state(folder / "states");
  EXPECT_EQ(found->path, file(1));
  EXPECT_TRUE(found->damaged.empty());
}

TEST_F(TrainingStateFolderTest, FoldersAreNoStates) {
  save(1);
  std::filesystem::create_directory(file(2));
  EXPECT_EQ(newest(), 1);
  save(3);
  save(4);
  EXPECT_TRUE(std::filesystem::exists(file(2)));
  EXPECT_TRUE(std::filesystem::exists(file(3)));
}

// Were a damaged state to count as one of the last, a valid one would be removed for it.
TEST(TrainingStateFolders, DamagedStatesDoNotCount) {
  TempFolder folder;
  SmallTrainingRun run;
  const auto file = [&](int64_t step) { return folder / ("state-" + std::to_string(step) + ".safetensors"); };
  for (const int64_t step : {18, 21, 24, 28}) save_training_state(file(step), run.state());
  for (const int64_t step : {24, 28}) {
    std::string bytes = read_bytes(file(step));
    bytes.back() = static_cast<char>(bytes.back() ^ 1);
    write_bytes(file(step), bytes);
  }
  ASSERT_EQ(newest_training_state(folder.path())->path, file(21));
  TrainingStateFolder states(folder.path(), 3);
  states.save(29, run.state());
  states.flush();
  for (const int64_t step : {24, 28}) EXPECT_FALSE(std::filesystem::exists(file(step))) << step;
  for (const int64_t step : {18, 21, 29}) EXPECT_TRUE(std::filesystem::exists(file(step))) << step;
  states.save(30, run.state());
  states.flush();
  EXPECT_FALSE(std::filesystem::exists(file(18)));
  for (const int64_t step : {21, 29, 30}) EXPECT_TRUE(std::filesystem::exists(file(step))) << step;
}

TEST(TrainingStateFolders, WhatCannotBeReadStaysAndDoesNotCount) {
  TempFolder folder;
  SmallTrainingRun run;
  const auto file = [&](int64_t step) { return folder / ("state-" + std::to_string(step) + ".safetensors"); };
  for (const int64_t step : {1, 2}) save_training_state(file(step), run.state());
  const TensorFile state = load_safetensors(file(2));
  auto metadata = state.metadata;
  metadata["format_version"] = "2.0";
  save_safetensors(file(2), metadata, state.tensors);
  TrainingStateFolder states(folder.path(), 2);
  states.save(3, run.state());
  states.flush();
  for (const int64_t step : {1, 2, 3}) EXPECT_TRUE(std::filesystem::exists(file(step))) << step;
}

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
  write_bytes(folder / ".state-1-0.tmp", "half");
  const TrainingStateFolder states(folder.path());
  EXPECT_FALSE(std::filesystem::exists(folder / ".state-1-0.tmp"));
}

TEST(TrainingStateFolders, WhatOthersAreWritingThereStays) {
  TempFolder folder;
  AtomicFile model(folder / "model");
  model.write("weights", 7);
  const TrainingStateFolder states(folder.path());
  model.commit();
  EXPECT_EQ(read_bytes(folder / "model"), "weights");
}

TEST(TrainingStateFolders, AnErrorOfSavingIsReportedOnceAndTheNextSaveGoesWell) {
  TempFolder folder;
  SmallTrainingRun run;
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

TEST(TrainingStateFolders, BelongToTheProcessThatMadeThem) {
  SKIP_WHERE_CHILDREN_MAY_HANG();
  TempFolder folder;
  SmallTrainingRun run;
  {
    TrainingStateFolder states(folder / "states");
    states.save(1, run.state());
    states.flush();
    auto copy = std::make_unique<TrainingStateFolder>(folder / "others");
    copy->save(1, run.state());
    EXPECT_EQ(status_of_child([&] {
                EXPECT_THROW(states.save(2, run.state()), ValueError);
                EXPECT_THROW(states.flush(), ValueError);
                EXPECT_THROW(states.wait(), ValueError);
                copy.reset();  // ends without a writer to wait for
                return !testing::Test::HasFailure();
              }),
              0);
    states.save(3, run.state());
  }
  EXPECT_EQ(newest_training_state(folder / "states")->path.filename(), "state-3.safetensors");
  EXPECT_TRUE(newest_training_state(folder / "others"));
}

TEST(TrainingStateFolders, MustBeFoldersThatCanBeMade) {
  TempFolder folder;
  write_bytes(folder / "file", "");
  EXPECT_THROW(TrainingStateFolder(folder / "file"), IOError);
  EXPECT_THROW(TrainingStateFolder(folder / "file/states"), IOError);
  EXPECT_THROW(TrainingStateFolder(folder / "states", 0), ValueError);
  EXPECT_THROW(newest_training_state(folder / "missing"), IOError);
}

TEST(TrainingStateFolders, NamesThatCannotBeLookedAtAreErrors) {
  TempFolder folder;
  std::filesystem::create_symlink("loop", folder / "loop");
  for (const std::string& name : {std::string(300, 'x'), std::string("loop")}) {
    EXPECT_THAT(message_of<IOError>([&] { (void)has_training_states(folder / name); }),
                testing::HasSubstr("cannot read the folder"));
    EXPECT_THROW(TrainingStateFolder(folder / name), IOError);
    EXPECT_THROW(newest_training_state(folder / name), IOError);
  }
  EXPECT_FALSE(has_training_states(folder / "missing"));
}

}  // namespace
}  // namespace thimble
