#include "apps/layer_times.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "apps/numbers.h"
#include <thimble/core/text_table.h>
#include <thimble/nn/graph/node_type.h>
#include <thimble/nn/inference/profile.h>

namespace thimble::apps {

namespace {

double sum_of(const std::vector<LayerTime>& times) {
  double sum = 0;
  for (const LayerTime& time : times) sum += time.us;
  return sum;
}

}  // namespace

std::vector<LayerTime> layer_times(const nn::Graph& graph, const std::vector<ModelInput>& inputs, int64_t batch_size) {
  constexpr int kRuns = 11;
  const NoGrad guard;
  std::vector<LayerTime> times;
  for (const nn::StepTime& step : nn::profile(graph, random_inputs(inputs, batch_size), kRuns)) {
    const nn::Node* node = graph.find(step.node);
    times.push_back({step.node, node ? type_of(graph, node) : "(order of elements)", step.seconds * 1e6});
  }
  return times;
}

void print(std::ostream& out, std::vector<LayerTime> times, int64_t batch_size) {
  constexpr double kLeast = 0.005;  // of the whole: what is below is one line
  const double all = sum_of(times);
  std::ranges::stable_sort(times, std::ranges::greater(), &LayerTime::us);
  const auto share = [&](double us) { return fixed(100 * us / all, 1) + " %"; };
  detail::TextTable table({"layer", "type", "us", "share"});
  const auto is_small = [&](const LayerTime& time) { return time.us < kLeast * all; };
  const auto rest = std::ranges::find_if(times, is_small);
  for (auto time = times.begin(); time != rest; ++time)
    table.add({time->name, time->type, fixed(time->us, 1), share(time->us)});
  if (rest != times.end()) {
    const double us = sum_of({rest, times.end()});
    table.add({std::to_string(times.end() - rest) + " others", "", fixed(us, 1), share(us)});
  }
  out << "of a batch of " << batch_size << ", step by step (a layer has absorbed what follows it and is not listed):\n"
      << table.str();
}

nlohmann::json to_json(const std::vector<LayerTime>& times) {
  nlohmann::json layers = nlohmann::json::array();
  for (const LayerTime& time : times) layers.push_back({{"name", time.name}, {"type", time.type}, {"us", time.us}});
  return layers;
}

}  // namespace thimble::apps
