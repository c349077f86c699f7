// The reference models that `thimble train` can build.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "apps/datasets.h"
#include <thimble/nn/module.h>

namespace thimble::apps {

struct ModelOptions {
  std::string name = "mlp";
  int64_t hidden = 128;  ///< width of each hidden layer; not of cnn and resnet9
  int64_t layers = 2;    ///< hidden layers; not of cnn and resnet9
  int64_t crop = 0;      ///< central crop of the images; 0: none
};

const std::vector<std::string>& model_names();

/// Whether it takes texts, as numbers of words, and not images. Throws ValueError for an unknown model.
bool takes_texts(const ModelOptions& options);

/// How the model wants the images of a dataset prepared, which have so many channels. Throws ValueError for an unknown
/// model.
data::Preprocessing preprocessing_for(const ModelOptions& options, const std::string& dataset, int64_t channels);

/// A model for the examples of this dataset, prepared so, initialized from the default generator. Throws ValueError for
/// an unknown name, or examples that it cannot take.
std::unique_ptr<nn::Module> make_model(const ModelOptions& options, const NamedDataset& dataset,
                                       const Preparation& preparation);

}  // namespace thimble::apps
