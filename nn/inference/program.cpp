#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <numeric>
#include <utility>

#include <thimble/nn/inference/memory_plan.h>
#include <thimble/nn/inference/program.h>

namespace thimble::nn {

namespace {

using Source = StepList::Source;

// The values of a part of a batch should stay in a core's second level cache.
constexpr int64_t kPartBytes = 768 * 1024;
// Where weights are far more than that, each part reads them from further away: better fewer parts, whose values stay
// at least in the cache that cores share.
constexpr int64_t kSharedPartBytes = 16 * 1024 * 1024;

bool give_same_attribute(const NDArray& a, const NDArray& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() && a.to_vector<double>() == b.to_vector<double>();
}

bool lie_alike(const ValueInfo& a, const ValueInfo& b) {
  return a.shape == b.shape && a.dtype == b.dtype && a.strides == b.strides && a.flattened_image == b.flattened_image;
}

}  // namespace

Program::Program(StepList steps) : list_(std::move(steps)) {
  for (const StepList::Named& input : list_.inputs) inputs_.push_back({input.name, list_.values[input.value].info});
  for (const StepList::Named& output : list_.outputs)
    outputs_.push_back({output.name, list_.values[output.value].info});
  place_values();
}

int64_t Program::part_size() const {
  const Shape& first = inputs_[0].info.shape;
  const int64_t batch = first.ndim() > 0 ? first[0] : 1;
  if (!list_.per_sample || batch < 2) return 0;
  // Without need each thread would read all weights: better divide each step.
  if (table_offset_ < list_.weight_bytes) return 0;
  const int64_t bytes = std::max(kPartBytes, std::min(list_.weight_bytes / 2, kSharedPartBytes));
  return std::max<int64_t>(1, bytes / (table_offset_ / batch + 1));
}

bool Program::is_part_of(const Program& whole) const {
  const auto alike = [](Shape part, const Shape& all) {
    if (!part.empty() && !all.empty()) part[0] = all[0];
    return part == all;
  };
  const auto strides = [](const NamedValue& input) { return input.info.strides; };
  return list_.per_sample && std::ranges::equal(inputs_, whole.inputs_, {}, strides, strides) &&
         std::ranges::equal(list_.node_shapes, whole.list_.node_shapes, alike) &&
         std::ranges::equal(list_.attributes_of_sizes, whole.list_.attributes_of_sizes, give_same_attribute);
}

void Program::run(std::span<const void* const> arguments, std::span<void* const> results, WorkMemory& memory) const {
  run_steps(arguments, results, memory, [](const StepList::Step& step, auto operands, void* out, uint8_t* scratch) {
    step.step->run(operands, out, scratch);
  });
}

void Program::run_timed(std::span<const void* const> arguments, std::span<void* const> results, WorkMemory& memory,
                        std::span<double> seconds) const {
  using Clock = std::chrono::steady_clock;
  size_t i = 0;
  run_steps(arguments, results, memory, [&](const StepList::Step& step, auto operands, void* out, uint8_t* scratch) {
    const Clock::time_point start = Clock::now();
    step.step->run(operands, out, scratch);
    seconds[i++] = std::chrono::duration<double>(Clock::now() - start).count();
  });
}

template <typename RunStep>
void Program::run_steps(std::span<const void* const> arguments, std::span<void* const> results, WorkMemory& memory,
                        const RunStep& run_step) const {
  const WorkMemory::Block block(memory, static_cast<size_t>(table_offset_) + list_.values.size() * sizeof(void*));
  void** at = reinterpret_cast<void**>(block.data() + table_offset_);  // of each value
  for (size_t i = 0; i < list_.values.size(); ++i)
    if (list_.values[i].source == Source::step) at[i] = block.data() + offsets_[i];
  for (const auto& [value, array] : list_.constants) at[value] = const_cast<void*>(std::as_const(array).raw());
  for (size_t i = 0; i < arguments.size(); ++i) at[list_.inputs[i].value] = const_cast<void*>(arguments[i]);
  for (size_t i = 0; i < results.size(); ++i)
    if (const size_t value = list_.outputs[i].value; list_.values[value].source == Source::step) at[value] = results[i];
  for (size_t i = 0; i < list_.values.size(); ++i)
    if (list_.values[i].source == Source::view) at[i] = at[list_.values[i].base];
  for (const StepList::Step& step : list_.steps) {
    std::array<const void*, StepList::kMostOperands> operands;
    for (size_t i = 0; i < step.inputs.size(); ++i) operands[i] = at[step.inputs[i]];
    run_step(step, std::span(operands.data(), step.inputs.size()), at[step.output], block.data() + scratch_offset_);
  }
  // What no step has written where it is wanted: a view, an argument, a constant, a value that is asked for twice.
  for (size_t i = 0; i < results.size(); ++i)
    if (const void* value = at[list_.outputs[i].value]; value != results[i])
      std::memcpy(results[i], value, static_cast<size_t>(outputs_[i].info.nbytes()));
}

bool Program::is_output(size_t value) const {
  return std::ranges::find(list_.outputs, value, &StepList::Named::value) != list_.outputs.end();
}

void Program::place_values() {
  const std::vector<size_t> homes = share_places();
  const std::vector<StepList::Value>& values = list_.values;
  std::vector<Lifetime> lifetimes(values.size());
  const std::vector<size_t> last_uses = this->last_uses();
  for (size_t i = 0; i < list_.steps.size(); ++i) {
    const size_t output = list_.steps[i].output;
    if (is_output(output)) continue;  // in the caller's memory
    Lifetime& lifetime = lifetimes[homes[output]];
    if (homes[output] == output) lifetime = {values[output].info.nbytes(), i, i};
    lifetime.last = std::max(lifetime.last, last_uses[output]);
  }
  MemoryPlan plan = plan_memory(lifetimes);
  offsets_ = std::move(plan.offsets);
  for (size_t i = 0; i < values.size(); ++i) offsets_[i] = offsets_[homes[i]];
  scratch_offset_ = aligned(plan.bytes);
  table_offset_ = aligned(scratch_offset_ + list_.scratch_bytes);
}

// The last step that reads each value, or a view of it.
std::vector<size_t> Program::last_uses() const {
  const std::vector<StepList::Value>& values = list_.values;
  std::vector<size_t> last(values.size());
  for (size_t i = 0; i < list_.steps.size(); ++i) {
    last[list_.steps[i].output] = i;
    for (size_t input : list_.steps[i].inputs) last[values[input].base] = i;
  }
  for (const StepList::Named& wanted : list_.outputs)
    if (values[wanted.value].source == Source::view) last[values[wanted.value].base] = list_.steps.size();
  return last;
}

// Whether the elements of a pointwise step's output may be written where those of this input lie, which nobody else
// reads: they must lie alike, and no other input may be another view of the same memory.
bool Program::may_lie_in(const StepList::Step& step, size_t input) const {
  const ValueInfo &from = list_.values[input].info, &to = list_.values[step.output].info;
  if (from.offset != 0 || to.offset != 0 || !lie_alike(from, to)) return false;
  return std::ranges::all_of(step.inputs, [&](size_t other) {
    const StepList::Value& value = list_.values[other];
    return value.base != list_.values[input].base || (value.info.offset == 0 && lie_alike(value.info, from));
  });
}

// The value whose place each one takes: its own, or that of an input which a pointwise step is the last to read.
std::vector<size_t> Program::share_places() const {
  const std::vector<size_t> last = last_uses();
  std::vector<size_t> homes(list_.values.size());
  std::iota(homes.begin(), homes.end(), size_t{0});
  for (size_t i = 0; i < list_.steps.size(); ++i) {
    const StepList::Step& step = list_.steps[i];
    if (!step.step->is_pointwise() || is_output(step.output)) continue;
    for (size_t input : step.inputs) {
      const size_t base = list_.values[input].base;
      const bool is_free = list_.values[base].source == Source::step && !is_output(base) && last[base] == i;
      if (is_free && may_lie_in(step, input)) homes[step.output] = homes[base];
    }
  }
  return homes;
}

}  // namespace thimble::nn
