#include <algorithm>

#include <thimble/core/autocast.h>
#include <thimble/nn/graph/attribute_inputs.h>
#include <thimble/nn/inference/executor.h>
#include <thimble/nn/inference/profile.h>
#include <thimble/nn/inference/program.h>

namespace thimble::nn {

namespace {

double median_of(std::vector<double> seconds) {
  const auto middle = seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2);
  std::ranges::nth_element(seconds, middle);
  return *middle;
}

}  // namespace

std::vector<StepTime> profile(const Graph& graph, const std::vector<Tensor>& inputs, int runs) {
  check<ValueError>(runs > 0, "profile: ", runs, " runs, expected at least 1");
  check<ValueError>(Executor(graph).usable(), "profile: the graph is not in evaluation mode; call eval()");
  const Autocast in_full(DType::float32);
  check<ValueError>(inputs.size() == graph.inputs().size(), "profile: the graph takes ", graph.inputs().size(),
                    " inputs, got ", inputs.size());
  const std::vector<bool> by_value = inputs_that_are_attributes(graph);
  std::vector<ValueInfo> infos;
  std::vector<NDArray> arrays;
  std::vector<const void*> arguments;
  for (const Tensor& input : inputs) {
    infos.push_back(info_of(input));
    if (by_value.at(infos.size() - 1)) infos.back().value = input.data().clone();
  }
  SharedState shared;
  const Program program(make_steps(graph, infos, shared));
  for (size_t i = 0; i < inputs.size(); ++i) {
    arrays.push_back(in_step_order(inputs[i].data(), program.inputs()[i].info));
    arguments.push_back(std::as_const(arrays.back()).raw());
  }
  std::vector<NDArray> made;
  std::vector<void*> results;
  for (const NamedValue& output : program.outputs()) {
    made.emplace_back(output.info.shape, output.info.dtype);
    results.push_back(made.back().raw());
  }
  WorkMemory memory;
  std::vector<double> seconds(program.steps().size());
  std::vector<std::vector<double>> of_step(seconds.size());
  for (int run = 0; run <= runs; ++run) {
    program.run_timed(arguments, results, memory, seconds);
    for (size_t i = 0; run > 0 && i < seconds.size(); ++i) of_step[i].push_back(seconds[i]);  // the first one warms up
  }
  std::vector<StepTime> times;
  for (size_t i = 0; i < of_step.size(); ++i) times.push_back({program.steps()[i].node, median_of(of_step[i])});
  return times;
}

}  // namespace thimble::nn
