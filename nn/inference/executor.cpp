#include <algorithm>
#include <array>
#include <atomic>

#include <thimble/core/ops/channels_last.h>
#include <thimble/core/parallel.h>
#include <thimble/nn/inference/executor.h>

namespace thimble::nn {

namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

ValueInfo info_of(const NDArray& x) { return {x.shape(), x.dtype()}; }

std::vector<ValueInfo> with_batch(std::vector<ValueInfo> inputs, int64_t batch) {
  for (ValueInfo& info : inputs) info.shape[0] = batch;
  return inputs;
}

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

Executor::Executor(const Graph& graph) {
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

std::shared_ptr<const Executor::Division> Executor::divide(const Graph& graph, const std::vector<ValueInfo>& inputs) {
  auto whole = std::make_shared<const Program>(graph, inputs, shared_);
  const int64_t batch = inputs[0].shape.ndim() > 0 ? inputs[0].shape[0] : 1, most = whole->part_size();
  // Parts of nearly equal size, as many for each thread.
  const int64_t threads = num_threads(), per_thread = most == 0 ? 0 : ceil_div(ceil_div(batch, most), threads);
  const int64_t part = most == 0 ? batch : ceil_div(batch, per_thread * threads);
  if (part == batch) return std::make_shared<Division>(Division{inputs, batch, 1, whole, whole});
  auto program = std::make_shared<const Program>(graph, with_batch(inputs, part), shared_);
  const int64_t rest = batch % part;
  auto last = rest == 0 ? program : std::make_shared<const Program>(graph, with_batch(inputs, rest), shared_);
  return std::make_shared<Division>(Division{inputs, part, (batch + part - 1) / part, program, last});
}

std::shared_ptr<const Executor::Division> Executor::division_for(const Graph& graph, std::span<const Tensor> inputs) {
  std::lock_guard lock(mutex_);
  forget_if_changed();
  const size_t hash = hash_of(inputs);
  const auto [first, last] = by_inputs_.equal_range(hash);
  const auto known = std::find_if(first, last, [&](const auto& entry) {
    return std::ranges::equal((*entry.second)->inputs, inputs, {}, {},
                              [](const Tensor& x) { return info_of(x.data()); });
  });
  if (known != last) {
    recent_.splice(recent_.begin(), recent_, known->second);
    return recent_.front();
  }
  std::vector<ValueInfo> infos;
  for (const Tensor& x : inputs) infos.push_back(info_of(x.data()));
  Recent made{divide(graph, infos)};
  by_inputs_.emplace(hash, made.begin());
  recent_.splice(recent_.begin(), made);
  if (recent_.size() > kMostShapes) forget_oldest();
  return recent_.front();
}

Tensor Executor::run(const Graph& graph, std::span<const Tensor> inputs) {
  check<ValueError>(!inputs.empty() && inputs.size() <= kMostInputs, "graph: takes 1 to ", kMostInputs, " inputs, got ",
                    inputs.size());
  std::array<NDArray, kMostInputs> arrays;
  std::ranges::transform(inputs, arrays.begin(), [](const Tensor& x) { return in_step_order(x.data()); });
  const std::shared_ptr<const Division> division = division_for(graph, inputs);
  const int64_t parts = division->parts, part = division->part;

  ValueInfo info = division->program->output();
  if (parts > 1) info.shape[0] = inputs[0].shape(0);
  const Shape& s = info.shape;
  NDArray output(info.is_image() ? Shape{s[0], s[2], s[3], s[1]} : s, info.dtype);
  // Bytes of a part of an array.
  const auto stride_of = [&](const NDArray& x) { return parts > 1 ? x.nbytes() / x.shape(0) * part : 0; };
  // A thread takes the next part when it is done with one: some are slower than others.
  std::atomic<int64_t> next{0};
  parallel_for(std::min<int64_t>(parts, num_threads()), 1, [&](int64_t, int64_t) {
    const NoGrad guard;  // on this thread, too
    std::array<const void*, kMostInputs> arguments;
    for (int64_t p = next++; p < parts; p = next++) {
      for (size_t i = 0; i < inputs.size(); ++i)
        arguments[i] = static_cast<const char*>(std::as_const(arrays[i]).raw()) + p * stride_of(arrays[i]);
      const Program& program = p + 1 == parts ? *division->last : *division->program;
      program.run(std::span(arguments).first(inputs.size()), static_cast<char*>(output.raw()) + p * stride_of(output),
                  memory_);
    }
  });
  return info.is_image() ? from_channels_last(output) : output;
}

}  // namespace thimble::nn
