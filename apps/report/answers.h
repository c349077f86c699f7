// What a classifier answers on a dataset: how often it is right, what it takes for what, and where it is most wrong.
#pragma once

#include <cstdint>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include <thimble/nn/data/dataset.h>
#include <thimble/nn/graph/graph.h>
#include <thimble/nn/training/metrics.h>

namespace thimble::apps {

/// An example that was taken for something else.
struct WrongAnswer {
  int64_t index = 0;  ///< in the dataset
  int64_t label = 0, predicted = 0;
  double probability = 0;  ///< of what was predicted
  double loss = 0;         ///< -log of the label's probability
};

struct Answers {
  double loss = 0;  ///< mean cross-entropy
  ConfusionMatrix confusion;
  std::vector<WrongAnswer> worst;  ///< those of the largest loss, the worst first
};

/// Of the first `limit` examples (-1: all). Throws ShapeError unless the graph gives logits [n, classes], ValueError
/// for an empty dataset and a label that is none of the classes.
Answers answers_of(nn::Graph& graph, const data::Dataset& dataset, int64_t limit, int64_t most_worst);

/// {loss, count, classes, matrix, precision, recall, f1}, the last three a list over classes each.
nlohmann::json to_json(const Answers& answers);

}  // namespace thimble::apps
