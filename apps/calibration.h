// Images to measure quantization on.
#pragma once

#include <vector>

#include <thimble/nn/data/dataset.h>
#include <thimble/nn/graph/graph.h>

namespace thimble::apps {

/// The images that calibration sees, in batches, kept in memory for what looks at them many times.
std::vector<Tensor> calibration_batches(const data::Dataset& train, int64_t images);

/// Runs the graph on each batch.
void run_on(nn::Graph& graph, const std::vector<Tensor>& batches);

/// Accuracy on a dataset's first images; limit < 0: on all.
double accuracy_on(nn::Graph& graph, const data::Dataset& dataset, int64_t limit);

}  // namespace thimble::apps
