// The reference models of texts, numbers of words [n, length], 0 where a text is over.
#pragma once

#include <memory>

#include "apps/models.h"
#include <thimble/nn/module.h>

namespace thimble::apps {

/// The sum of a row for each word, which is what a linear layer makes of a bag of words, and begins with such a layer's
/// weights -> (ReLU, hidden) x (layers - 1) -> ReLU -> classes. Throws ValueError without a hidden layer.
std::unique_ptr<nn::Module> bow(const ModelOptions& options, int64_t words, int64_t classes);

/// A row for each word -> `layers` layers of LSTM -> what the last has kept after the last word -> classes. Throws
/// ValueError without a layer.
std::unique_ptr<nn::Module> lstm_classifier(const ModelOptions& options, int64_t words, int64_t classes);

/// A row for each word and one for its place -> a transformer's encoder of `layers` layers -> the mean over the words
/// -> classes. Throws ValueError without a layer, and if four heads do not divide the width.
std::unique_ptr<nn::Module> transformer_classifier(const ModelOptions& options, int64_t words, int64_t classes);

}  // namespace thimble::apps
