#include <algorithm>
#include <list>
#include <map>
#include <string>
#include <unordered_map>

#include <thimble/nn/graph/interpreter.h>
#include <thimble/nn/training/eval_mode.h>

namespace thimble::nn {

Interpreter::Interpreter(const Graph& graph) {
  std::unordered_map<const Node*, size_t> number;
  std::map<std::string, Tensor> tensors;
  for (auto& [path, tensor] : graph.state()) tensors.emplace(path, tensor);
  for (const Node* node : graph.nodes()) {
    number[node] = steps_.size();
    Step& step = steps_.emplace_back();
    if (node->kind == Node::Kind::input) ++num_inputs_;
    if (node->kind == Node::Kind::tensor) step.tensor = tensors.at(node->target);
    if (node->kind == Node::Kind::layer || node->kind == Node::Kind::op) step.call.emplace(graph, *node);
    for (const Node* input : node->inputs) step.inputs.push_back(number.at(input));
  }
  for (const GraphOutput& output : graph.outputs()) outputs_.push_back(number.at(output.node));
  find_last_uses();
}

void Interpreter::find_last_uses() {
  std::vector<size_t> last_use(steps_.size());
  for (size_t i = 0; i < steps_.size(); ++i) {
    last_use[i] = i;
    for (const size_t input : steps_[i].inputs) last_use[input] = i;
  }
  for (size_t value = 0; value < last_use.size(); ++value)
    if (std::ranges::find(outputs_, value) == outputs_.end()) steps_[last_use[value]].last_uses.push_back(value);
}

std::vector<Tensor> Interpreter::run(std::span<const Tensor> inputs, bool keep_all) const {
  check<ValueError>(inputs.size() == num_inputs_, "graph: takes ", num_inputs_, " inputs, got ", inputs.size());
  std::vector<Tensor> values(steps_.size());
  std::vector<Tensor> operands;
  size_t next_input = 0;
  for (size_t i = 0; i < steps_.size(); ++i) {
    const Step& step = steps_[i];
    if (step.call) {
      operands.clear();
      for (const size_t input : step.inputs) operands.push_back(values[input]);
      values[i] = (*step.call)(operands);
    } else {
      values[i] = step.tensor.defined() ? step.tensor : inputs[next_input++];
    }
    if (!keep_all)
      for (const size_t done : step.last_uses) values[done] = Tensor();
  }
  return values;
}

std::vector<Tensor> Interpreter::outputs(std::span<const Tensor> inputs) const {
  const std::vector<Tensor> values = run(inputs, false);
  std::vector<Tensor> wanted;
  for (const size_t output : outputs_) wanted.push_back(values[output]);
  return wanted;
}

std::vector<Tensor> Interpreter::evaluate(std::span<const Tensor> inputs) const {
  const std::lock_guard lock(evaluating_);
  std::list<EvalMode> modes;
  for (const Step& step : steps_)
    if (step.call && step.call->layer() && step.call->layer()->training()) modes.emplace_back(*step.call->layer());
  return outputs(inputs);
}

std::vector<Tensor> Interpreter::state_of_outputs() const {
  std::vector<bool> needed(steps_.size());
  for (const size_t output : outputs_) needed[output] = true;
  std::map<const void*, Tensor> found;  // a layer that is called twice counts once
  for (size_t i = steps_.size(); i-- > 0;) {
    const Step& step = steps_[i];
    if (!needed[i]) continue;
    for (const size_t input : step.inputs) needed[input] = true;
    if (step.tensor.defined()) found.emplace(step.tensor.id(), step.tensor);
    if (!step.call || !step.call->layer()) continue;
    for (const auto& [path, tensor] : step.call->layer()->state()) found.emplace(tensor.id(), tensor);
  }
  std::vector<Tensor> tensors;
  for (const auto& [id, tensor] : found) tensors.push_back(tensor);
  return tensors;
}

}  // namespace thimble::nn
