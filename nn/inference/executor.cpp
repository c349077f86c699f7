#include <algorithm>

#include <thimble/core/autocast.h>
#include <thimble/nn/graph/attribute_inputs.h>
#include <thimble/nn/inference/executor.h>

namespace thimble::nn {

namespace {

// Elements of an input that programs are told: sizes, axes, bounds.
constexpr int64_t kMostTold = 64;

size_t hash_of(std::span<const Tensor> inputs) {
  size_t hash = inputs.size();
  const auto add = [&](int64_t number) { hash = hash * 0x9E3779B97F4A7C15u + static_cast<size_t>(number); };
  for (const Tensor& x : inputs) {
    add(x.ndim());
    for (const int64_t size : x.shape()) add(size);
  }
  return hash;
}

}  // namespace

Executor::Executor(const Graph& graph) : by_value_(inputs_that_are_attributes(graph)) {
  for (const auto& [path, layer] : graph.children()) layers_.push_back(layer.get());
  for (const auto& [path, tensor] : graph.state()) {
    tensors_.push_back(tensor);
    versions_.push_back(tensor.version());
  }
}

Executor::~Executor() = default;

bool Executor::usable() const {
  return std::ranges::none_of(layers_,
                              [](const Module* layer) { return layer->training() || layer->has_side_effects(); });
}

void Executor::forget_if_changed() {
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (tensors_[i].version() == versions_[i]) continue;
    by_inputs_.clear();
    recent_.clear();
    refusals_.clear();
    shared_.weights.clear();
    shared_.constants.clear();
    versions_[i] = tensors_[i].version();
  }
}

void Executor::forget_oldest() {
  const auto oldest = std::prev(recent_.end());
  std::erase_if(by_inputs_, [&](const auto& entry) { return entry.second == oldest; });
  recent_.erase(oldest);
}

std::shared_ptr<const BatchedProgram> Executor::make_program(const Graph& graph, std::span<const Tensor> inputs) {
  std::vector<ValueInfo> infos;
  for (size_t i = 0; i < inputs.size(); ++i) {
    infos.push_back(info_of(inputs[i]));
    if (i < by_value_.size() && by_value_[i] && inputs[i].numel() <= kMostTold)
      infos.back().value = inputs[i].data().clone();
  }
  try {
    return std::make_shared<const BatchedProgram>(infos, [&](const std::vector<ValueInfo>& of_part) {
      return std::make_shared<const Program>(make_steps(graph, of_part, shared_));
    });
  } catch (const Error&) {
    if (refusals_.size() >= kMostShapes) refusals_.erase(refusals_.begin());
    refusals_.push_back({std::move(infos), std::current_exception()});
    throw;
  }
}

std::shared_ptr<const BatchedProgram> Executor::program_for(const Graph& graph, std::span<const Tensor> inputs) {
  const Autocast in_full(DType::float32);  // whatever scope the first caller is in
  std::lock_guard lock(mutex_);
  forget_if_changed();
  const size_t hash = hash_of(inputs);
  const auto [first, last] = by_inputs_.equal_range(hash);
  const auto known = std::find_if(first, last, [&](const auto& entry) { return (*entry.second)->fits(inputs); });
  if (known != last) {
    recent_.splice(recent_.begin(), recent_, known->second);
    return recent_.front();
  }
  for (const Refusal& refusal : refusals_)
    if (are_described(inputs, refusal.inputs)) std::rethrow_exception(refusal.reason);
  Recent made{make_program(graph, inputs)};
  by_inputs_.emplace(hash, made.begin());
  recent_.splice(recent_.begin(), made);
  if (recent_.size() > kMostShapes) forget_oldest();
  return recent_.front();
}

std::vector<Tensor> Executor::run(const Graph& graph, std::span<const Tensor> inputs) {
  const std::shared_ptr<const BatchedProgram> program = program_for(graph, inputs);
  std::vector<Tensor> outputs(graph.outputs().size());
  run(*program, inputs, outputs);
  return outputs;
}

}  // namespace thimble::nn
