#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include <thimble/nn/inference/memory_plan.h>
#include <thimble/nn/inference/program.h>

namespace thimble::nn {

namespace {

using Source = StepList::Source;

// The values of a part of a batch should stay in a core's second level cache.
constexpr int64_t kPartBytes = 768 * 1024;

int64_t aligned(int64_t bytes) { return (bytes + 63) / 64 * 64; }

}  // namespace

Program::Program(const Graph& graph, const std::vector<ValueInfo>& inputs, SharedState& shared)
    : batch_(inputs[0].shape.ndim() > 0 ? inputs[0].shape[0] : 1), list_(make_steps(graph, inputs, shared)) {
  place_values();
}

int64_t Program::part_size() const {
  if (!list_.per_sample || batch_ < 2) return 0;
  // Without need each thread would read all weights: better divide each step.
  if (table_offset_ < list_.weight_bytes) return 0;
  return std::max<int64_t>(1, kPartBytes / (table_offset_ / batch_ + 1));
}

void Program::run(std::span<const void* const> arguments, void* output, WorkMemory& memory) const {
  const WorkMemory::Block block(memory, static_cast<size_t>(table_offset_) + list_.values.size() * sizeof(void*));
  void** at = reinterpret_cast<void**>(block.data() + table_offset_);  // of each value
  for (size_t i = 0, next = 0; i < list_.values.size(); ++i) {
    const StepList::Value& value = list_.values[i];
    if (value.source == Source::argument)
      at[i] = const_cast<void*>(arguments[next++]);
    else
      at[i] = value.source == Source::view ? at[value.base] : block.data() + offsets_[i];
  }
  for (const auto& [value, array] : list_.constants) at[value] = const_cast<void*>(std::as_const(array).raw());
  const StepList::Value& answer = list_.values[list_.output];
  if (answer.source == Source::step) at[list_.output] = output;
  for (const StepList::Step& step : list_.steps) {
    std::array<const void*, StepList::kMostOperands> few;
    for (size_t i = 0; i < step.inputs.size(); ++i) few[i] = at[step.inputs[i]];
    step.step->run(std::span(few.data(), step.inputs.size()), at[step.output], block.data() + scratch_offset_);
  }
  if (answer.source != Source::step) std::memcpy(output, at[list_.output], static_cast<size_t>(answer.info.nbytes()));
}

void Program::place_values() {
  const std::vector<StepList::Value>& values = list_.values;
  std::vector<Lifetime> lifetimes(values.size());
  for (size_t i = 0; i < list_.steps.size(); ++i) {
    const size_t output = list_.steps[i].output;
    lifetimes[output] = {output == list_.output ? 0 : values[output].info.nbytes(), i, i};
    for (size_t input : list_.steps[i].inputs) lifetimes[values[input].base].last = i;
  }
  if (values[list_.output].source == Source::view) lifetimes[values[list_.output].base].last = list_.steps.size();
  for (size_t i = 0; i < values.size(); ++i)
    if (values[i].source != Source::step) lifetimes[i].bytes = 0;
  MemoryPlan plan = plan_memory(lifetimes);
  offsets_ = std::move(plan.offsets);
  scratch_offset_ = aligned(plan.bytes);
  table_offset_ = aligned(scratch_offset_ + list_.scratch_bytes);
}

}  // namespace thimble::nn
