// Where inference spends its time, layer by layer.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "apps/model_inputs.h"
#include <thimble/nn/graph/graph.h>

namespace thimble::apps {

struct LayerTime {
  std::string name;  ///< the node's; empty: values are laid out anew for those that need it
  std::string type;  ///< the layer's, or the op
  double us = 0;
};

/// Of the graph on random_inputs(), in the order in which it runs; medians of a few runs.
std::vector<LayerTime> layer_times(const nn::Graph& graph, const std::vector<ModelInput>& inputs, int64_t batch_size);

/// The slowest first, as a table.
void print(std::ostream& out, std::vector<LayerTime> times, int64_t batch_size);

/// [{name, type, us}]
nlohmann::json to_json(const std::vector<LayerTime>& times);

}  // namespace thimble::apps
