// The reference models that `thimble train` can build.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <thimble/nn/data/preprocessing.h>
#include <thimble/nn/module.h>

namespace thimble::apps {

struct ModelOptions {
  std::string name = "mlp";
  int64_t hidden = 128;  ///< width of each hidden layer of mlp
  int64_t layers = 2;    ///< hidden layers of mlp
  int64_t crop = 0;      ///< central crop of the images; 0: none
};

const std::vector<std::string>& model_names();

/// How the model wants 28x28 images prepared. Throws ValueError for an unknown model.
data::Preprocessing preprocessing_for(const ModelOptions& options);

/// A model for images of this shape (without the batch) and ten classes, initialized from the default generator. Throws
/// ValueError for an unknown name.
std::unique_ptr<nn::Module> make_model(const ModelOptions& options, const Shape& image_shape);

}  // namespace thimble::apps
