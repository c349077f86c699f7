// What training runs of this program have in common, besides fit().
#pragma once

#include <functional>
#include <ostream>
#include <string>

#include <thimble/nn/graph/graph.h>
#include <thimble/nn/module.h>
#include <thimble/nn/training/callbacks.h>
#include <thimble/nn/training/fit.h>

namespace thimble::apps {

/// How many of the images an epoch takes in such batches: all, but for the one that a last batch would be of. Batch
/// normalization cannot learn from a single value a channel, which is what it sees of one image of a pixel, and its
/// running statistics gain nothing from one image of any size. Says so on `out`.
int64_t images_an_epoch(const nn::Module& model, int64_t images, int64_t batch_size, std::ostream& out);

/// classification(), whose error for a training batch of one says what to do.
Objective classification_in_batches();

/// What the program shows behind the bar: "loss 0.1234  accuracy 98.12%  50,000 images/s".
std::string figures_of(const EpochSoFar& epoch, const std::string& examples);

/// Prints a line for each epoch that is over.
class EpochLine : public Callback {
 public:
  /// `text` says what is in the line, without its end.
  EpochLine(std::ostream& out, std::function<std::string(const EpochRecord&)> text)
      : out_(out), text_(std::move(text)) {}
  void after_epoch(TrainingRun& run) override;

 private:
  std::ostream& out_;
  std::function<std::string(const EpochRecord&)> text_;
};

/// save_model() of what a run has made. `advice` is the run's StateKeeper::advice(), which its error then ends in.
void save_trained(const nn::Graph& graph, const std::string& out, const Attributes& notes, const std::string& advice);

}  // namespace thimble::apps
