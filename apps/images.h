// The images, or texts, of a model's dataset, prepared as the model takes them.
#pragma once

#include <memory>
#include <string>

#include <CLI/CLI.hpp>

#include "apps/loaded_model.h"
#include <thimble/nn/data/dataset.h>

namespace thimble::apps {

/// Which dataset, and where it is.
struct DataOptions {
  std::string dataset;  ///< empty: what the model was trained on
  std::string folder;   ///< empty: the dataset's usual one

  /// Adds --dataset and --data to a subcommand.
  void add_to(CLI::App& command);
};

/// Opens the dataset when it is asked for. The model must outlive it.
class Images {
 public:
  Images(const LoadedModel& model, DataOptions options) : model_(model), options_(std::move(options)) {}

  /// Why there are no images to measure accuracy on, as far as that is known without looking for files; else empty.
  std::string problem() const;

  /// The name of the dataset. Throws ValueError if neither --dataset nor the model says.
  const std::string& dataset() const;

  /// "images", "texts", or "examples".
  std::string called() const { return examples_of(dataset()); }

  /// Warns, once, if this is not what the model was trained on. Throws FormatError if the model does not say how images
  /// are prepared; ShapeError, before any image is prepared, if they then are not of the model's input shape; and what
  /// open_dataset() throws.
  std::shared_ptr<const data::Dataset> open(data::Split split) const;

 private:
  void warn_of_other_data(const std::string& checksum, data::Split split) const;

  const LoadedModel& model_;
  DataOptions options_;
  mutable bool warned_ = false;
};

}  // namespace thimble::apps
