// Where a graph's inference spends its time, node by node.
//
//   for (const auto& [node, seconds] : nn::profile(graph, {images}, 20)) std::cout << node << ' ' << seconds << '\n';
#pragma once

#include <string>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/nn/graph/graph.h>

namespace thimble::nn {

/// One step of a graph's program.
struct StepTime {
  std::string node;    ///< whose work it is, with that of the nodes that it has absorbed; empty: see below
  double seconds = 0;  ///< the median of all runs
};

/// How long each step of the graph's program for these inputs takes, in the order in which they run. The batch is not
/// divided, so that each step is run by all threads. Steps of no node lay values out anew for those that need it.
/// Throws ValueError for fewer runs than one and a graph whose layers are not all in evaluation mode, and what the
/// graph says against the inputs.
THIMBLE_API std::vector<StepTime> profile(const Graph& graph, const std::vector<Tensor>& inputs, int runs);

}  // namespace thimble::nn
