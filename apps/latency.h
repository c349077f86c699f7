// Latency of inference.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "apps/model_inputs.h"
#include <thimble/nn/graph/graph.h>

namespace thimble::apps {

/// Microseconds a call, over runs that each repeat the call for long enough to be timed.
struct Latency {
  double mean_us = 0, median_us = 0;
  std::optional<double> std_us;  ///< none for a single run
};

/// "7.5" for one digit, or "-".
std::string std_text(const Latency& latency, int digits);
/// A number, or null.
nlohmann::json std_json(const Latency& latency);

/// Runs the graph on random_inputs().
Latency measure_latency(nn::Graph& graph, const std::vector<ModelInput>& inputs, int64_t batch_size, int runs);

struct TimedAnswers {
  std::vector<Tensor> answers;  ///< of all outputs
  double median_us = 0;
};

/// Calls the graph so many times. The first call of a shape also prepares for it, which the median of a few does not
/// show.
TimedAnswers timed_answers(nn::Graph& graph, const std::vector<Tensor>& inputs, int calls);

/// Milliseconds from the start of a fresh process to a model's first answer; the median of a few such processes, which
/// use so many threads, or by default all cores. Throws IOError if one cannot be started or does not answer.
double measure_first_answer_ms(const std::string& model, const ShapeOption& shapes, int threads);

/// What such a process does: loads the model, answers once, and says so.
void answer_once(const std::string& model, const ShapeOption& shapes);

}  // namespace thimble::apps
