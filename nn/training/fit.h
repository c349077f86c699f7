// fit: training in few lines.
//
//   data::DataLoader loader(train, {.batch_size = 64, .shuffle = true, .seed = 1});
//   optim::Adam adam(net.parameters(), {.lr = 1e-3});
//   EpochLines lines(std::cout);
//   EarlyStopping patience("test_loss", {.patience = 3});
//   const auto epochs = fit(net, adam, loader, classification(),
//                           {.epochs = 20, .evaluate = {{"test", &test}}, .callbacks = {&lines, &patience}});
//   std::cout << epochs.back()["test_accuracy"];
//
// It is this loop, with means, a learning rate, callbacks and a way to go on from the middle:
//
//   for (int epoch = 0; epoch < 20; ++epoch) {
//     net.train();
//     for (auto& [images, labels] : loader) {
//       const Tensor loss = cross_entropy(net(images), labels);
//       adam.zero_grad();
//       loss.backward();
//       adam.step();
//     }
//     thimble::evaluate(net, test);
//   }
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/core/dtype.h>
#include <thimble/nn/data/dataloader.h>
#include <thimble/nn/module.h>
#include <thimble/nn/training/objective.h>
#include <thimble/nn/training/optim/optimizer.h>
#include <thimble/nn/training/optim/schedule.h>
#include <thimble/nn/training/training_progress.h>

namespace thimble {

struct FitOptions;

/// A run of fit(), as its callbacks see it.
struct THIMBLE_API TrainingRun {
  nn::Module& model;
  optim::Optimizer& optimizer;
  const FitOptions& options;
  int64_t steps_per_epoch;
  TrainingProgress progress = {};
  bool stop = false;  ///< a callback sets it: the run ends with this step

  /// How many steps are done.
  int64_t steps() const { return progress.steps(steps_per_epoch); }
  /// "epoch 2/20", the number counting from 1.
  std::string title(int64_t epoch) const;
  /// What a saved state needs to go on from here: progress, with what callbacks remember now.
  TrainingProgress snapshot() const;
};

/// Base of what happens along a run. Called in the order of FitOptions::callbacks; what they throw ends the run. Those
/// that save states come last, so that the others have heard of the step.
class THIMBLE_API Callback {
 public:
  virtual ~Callback() = default;

  /// The run begins, or goes on.
  virtual void on_start(TrainingRun&) {}
  /// Before each step of the optimizer. Its number, run.steps(), counts from the start of the run.
  virtual void before_step(TrainingRun&) {}
  /// A step is done and counted.
  virtual void after_step(TrainingRun&) {}
  /// An epoch is over: run.progress.epochs.back().
  virtual void after_epoch(TrainingRun&) {}
  /// The run is over.
  virtual void on_end(TrainingRun&) {}

  /// What it remembers, for a run that goes on from a saved state, with the same callbacks in the same order.
  virtual Attributes state() const { return {}; }
  /// What state() gave, or nothing. Throws FormatError for what is none of its.
  virtual void load_state(const Attributes&) {}
};

/// A dataset that the model is evaluated on after each epoch; it must outlive the run.
struct THIMBLE_API EvaluationSet {
  std::string name;  ///< "test": what it measures is called "test_loss", ...; not "train"
  const data::Dataset* dataset = nullptr;
};

/// Options of fit().
struct THIMBLE_API FitOptions {
  int64_t epochs = 1;
  std::vector<EvaluationSet> evaluate = {};
  int64_t evaluation_batch_size = 256;
  optim::Schedule schedule = {};             ///< of the learning rate, by the step's number; none: it stays
  DType precision = DType::float32;          ///< what steps compute products in, see Autocast; evaluation is in float32
  std::optional<double> max_grad_norm = {};  ///< see optim::clip_grad_norm(); none: gradients are as they are
  std::vector<Callback*> callbacks = {};     ///< they must outlive the run
  TrainingProgress start = {};               ///< where the run goes on, for model and optimizer of that moment
};

/// Trains the model until all epochs are over or a callback stops it, and gives a record of each. A run that goes on
/// from the state of another, with a loader of the same options, computes the same bits as one that was never
/// interrupted; a loader that was used before begins with its next epoch. The model is left in training mode, the
/// optimizer at the learning rate that it had at first. Throws ValueError if the loss is no scalar or does not stay
/// finite, for a loader without batches or of other steps an epoch than that of the run that goes on, and for options
/// out of range.
THIMBLE_API std::vector<EpochRecord> fit(nn::Module& model, optim::Optimizer& optimizer, data::DataLoader& loader,
                                         const Objective& objective, const FitOptions& options = {});

}  // namespace thimble
