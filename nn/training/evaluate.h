// How well a model does on a dataset.
//
//   thimble::evaluate(net, test).accuracy;                                // of a classifier
//   thimble::evaluate(net, houses, regression())["mean_absolute_error"]; // of any model
#pragma once

#include <thimble/core/api.h>
#include <thimble/nn/data/dataset.h>
#include <thimble/nn/module.h>
#include <thimble/nn/training/objective.h>

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

/// The means of what the objective reports, "loss" first, in evaluation mode and without recording, over all of the
/// dataset. Throws ValueError for an empty one, and what the objective throws.
THIMBLE_API Means evaluate(nn::Module& model, const data::Dataset& dataset, const Objective& objective,
                           int64_t batch_size = 256);

/// The accuracy alone.
THIMBLE_API double accuracy(nn::Module& model, const data::Dataset& dataset);

/// How many rows of logits [n, classes] are largest at their label (int64 [n]); or [n, classes, d1, ...] and [n, d1,
/// ...].
THIMBLE_API int64_t count_correct(const NDArray& logits, const NDArray& labels);

}  // namespace thimble
