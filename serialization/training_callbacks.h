// Callbacks of fit() that write files: the best model so far, states to go on from.
//
//   BestCheckpoint best("best.safetensors", test.example(), {.name = "test_loss"});
//   SaveStates states("states", {.every = 1000});
//   fit(net, adam, loader, classification(), {.epochs = 20,
//                                             .evaluate = {{"test", &test}},
//                                             .callbacks = {&best, &states},
//                                             .start = resume_training("states", net, adam)});
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/nn/training/callbacks.h>
#include <thimble/serialization/training_state_folder.h>

namespace thimble {

/// Saves the model whenever an epoch is the best so far, traced in evaluation mode, as save_model() does: the file is
/// whole at any time.
class THIMBLE_API BestCheckpoint : public Callback {
 public:
  /// The examples are inputs of the model, for nn::trace(). Throws ValueError for a monitor out of range.
  BestCheckpoint(std::filesystem::path path, Tensor example, Monitor monitor, Attributes notes = {});
  BestCheckpoint(std::filesystem::path path, std::vector<Tensor> examples, Monitor monitor, Attributes notes = {});
  void after_epoch(TrainingRun& run) override;
  Attributes state() const override { return best_.state(); }
  void load_state(const Attributes& state) override { best_.load_state(state); }

 private:
  std::filesystem::path path_;
  std::vector<Tensor> examples_;
  Best best_;
  Attributes notes_;
};

/// Options of SaveStates.
struct THIMBLE_API SaveStatesOptions {
  int64_t every = 500;  ///< steps
  int64_t keep = 3;     ///< states that stay, the newest
};

/// Saves the whole state of a run now and then and at its end, by a thread of its own, see TrainingStateFolder.
class THIMBLE_API SaveStates : public Callback {
 public:
  /// Throws ValueError for options below 1, and what TrainingStateFolder throws.
  explicit SaveStates(const std::filesystem::path& folder, const SaveStatesOptions& options = {});
  /// Throws ValueError if the folder holds states of later steps than the run begins at, which it would remove.
  void on_start(TrainingRun& run) override;
  void after_step(TrainingRun& run) override;
  void on_end(TrainingRun& run) override;

 private:
  void save(const TrainingRun& run);

  std::filesystem::path path_;
  TrainingStateFolder folder_;
  int64_t every_;
};

/// Sets model, optimizer and this thread's default generator to the newest valid state in the folder, and says where
/// the run goes on; a folder without states, or none, changes nothing: the run begins. Throws as
/// newest_training_state() and restore() do.
THIMBLE_API TrainingProgress resume_training(const std::filesystem::path& folder, nn::Module& model,
                                             optim::Optimizer& optimizer);

}  // namespace thimble
