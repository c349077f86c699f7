// How well a classifier does on a dataset.
#pragma once

#include <thimble/core/api.h>
#include <thimble/nn/data/dataset.h>
#include <thimble/nn/module.h>

namespace thimble {

/// What evaluate() has measured.
struct THIMBLE_API Evaluation {
  double accuracy = 0;  ///< of the largest logit, 0 to 1
  double loss = 0;      ///< mean cross-entropy
  int64_t images = 0;
};

/// Runs the model, in evaluation mode and without recording, over all of the dataset. Throws ShapeError unless it gives
/// logits [n, classes], ValueError for an empty dataset.
THIMBLE_API Evaluation evaluate(nn::Module& model, const data::Dataset& dataset, int64_t batch_size = 256);

/// The accuracy alone.
THIMBLE_API double accuracy(nn::Module& model, const data::Dataset& dataset);

/// How many rows of logits [n, classes] are largest at their label (int64 [n]).
THIMBLE_API int64_t count_correct(const NDArray& logits, const NDArray& labels);

}  // namespace thimble
