// Objectives: what a model is to learn from a batch, and what is reported of it.
//
//   const Objective two_heads = [](nn::Module& model, const data::Batch& batch, Means& means) {
//     const auto outputs = model.call_outputs(std::vector<Tensor>{batch["image"]});
//     means.add("accuracy", static_cast<double>(count_correct(outputs[0].data(), batch["label"].data())),
//     batch.size()); return cross_entropy(outputs[0], batch["label"]) + mse_loss(outputs[1], batch["image"]) * 0.1;
//   };
#pragma once

#include <functional>

#include <thimble/core/api.h>
#include <thimble/core/ops/loss.h>
#include <thimble/nn/data/batch.h>
#include <thimble/nn/module.h>
#include <thimble/nn/training/means.h>

namespace thimble {

/// Runs the model on a batch and gives the loss, a scalar that is the mean over its examples. Adds to `means` what else
/// is to be reported, and "loss" if it is a mean over anything else than the batch's examples.
using Objective = std::function<Tensor(nn::Module& model, const data::Batch& batch, Means& means)>;

/// Calls the objective, and adds "loss", first of all means, for the batch's examples unless the objective has done so.
/// Throws ValueError for a loss that is no scalar.
THIMBLE_API Tensor reported_loss(const Objective& objective, nn::Module& model, const data::Batch& batch, Means& means);

/// For batches of two fields, what the model takes and classes: cross_entropy() of its logits, and "accuracy", both
/// over the targets that count. Classes may be probabilities, as MixUp makes them: the likeliest is the right one then.
/// A batch in which no target counts has a loss of 0.
THIMBLE_API Objective classification(const CrossEntropyOptions& options = {});

/// For batches of two fields, what the model takes and targets of its output's shape: the mean of their squared
/// differences, and "mean_absolute_error".
THIMBLE_API Objective regression();

}  // namespace thimble
