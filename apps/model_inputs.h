// What a model's inputs are like, as its file, or --shape, says.
#pragma once

#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "apps/loaded_model.h"
#include <thimble/core/tensor.h>

namespace thimble::apps {

struct ModelInput {
  std::string name;
  DType dtype = DType::float32;
  Shape shape;         ///< without the batch
  int64_t values = 1;  ///< of integers: all from 0 to less than this are valid
};

/// --shape, by which people tell what a file does not, or change it for models that take inputs of any size.
class ShapeOption {
 public:
  /// Adds --shape to a subcommand.
  void add_to(CLI::App& command);

  const std::vector<std::string>& texts() const { return texts_; }

  /// One entry for each input of the graph. Throws FormatError for a file whose shapes are out of bounds; ValueError
  /// for an input of which neither the file nor --shape knows the shape, and for a --shape of no input.
  std::vector<ModelInput> inputs_of(const LoadedModel& model) const;

 private:
  std::vector<std::string> texts_;
};

/// A batch of random values for each input: floats in [0, 1), or integers that are valid.
std::vector<Tensor> random_inputs(const std::vector<ModelInput>& inputs, int64_t batch_size);

}  // namespace thimble::apps
