#include <algorithm>
#include <array>
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

}  // namespace

Program::Program(const Graph& graph, const std::vector<ValueInfo>& inputs, SharedState& shared)
    : batch_(inputs[0].shape.ndim() > 0 ? inputs[0].shape[0] : 1), list_(make_steps(graph, inputs, shared)) {
  place_values();
}

int64_t Program::part_size() const {
  if (!list_.per_sample || batch_ < 2) return 0;
  // Without need each thread would read all weights: better divide each step.
  if (table_offset_ < list_.weight_bytes) return 0;
  const int64_t bytes = std::max(kPartBytes, std::min(list_.weight_bytes / 2, kSharedPartBytes));
  return std::max<int64_t>(1, bytes / (table_offset_ / batch_ + 1));
}

void Program::run(std::span<const void* const> arguments, void* output, WorkMemory& memory) const {
  const WorkMemory::Block block(memory, static_cast<size_t>(table_offset_) + list_.values.size() * sizeof(void*));
  void** at = reinterpret_cast<void**>(block.data() + table_offset_);  // of each value
  for (const auto& [value, array] : list_.constants) at[value] = const_cast<void*>(std::as_const(array).raw());
  for (size_t i = 0, next = 0; i < list_.values.size(); ++i) {
    const StepList::Value& value = list_.values[i];
    if (value.source == Source::argument) at[i] = const_cast<void*>(arguments[next++]);
    if (value.source == Source::view) at[i] = at[value.base];
    if (value.source == Source::step) at[i] = block.data() + offsets_[i];
  }
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
  const std::vector<size_t> homes = share_places();
  const std::vector<StepList::Value>& values = list_.values;
  std::vector<Lifetime> lifetimes(values.size());
  const std::vector<size_t> last_uses = this->last_uses();
  for (size_t i = 0; i < list_.steps.size(); ++i) {
    const size_t output = list_.steps[i].output;
    if (output == list_.output) continue;  // in the caller's memory
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
  if (values[list_.output].source == Source::view) last[values[list_.output].base] = list_.steps.size();
  return last;
}

// The value whose place each one takes: its own, or that of an input which a pointwise step is the last to read.
std::vector<size_t> Program::share_places() const {
  const std::vector<size_t> last = last_uses();
  std::vector<size_t> homes(list_.values.size());
  std::iota(homes.begin(), homes.end(), size_t{0});
  for (size_t i = 0; i < list_.steps.size(); ++i) {
    const StepList::Step& step = list_.steps[i];
    if (!step.step->is_pointwise() || step.output == list_.output) continue;
    for (size_t input : step.inputs) {
      const size_t base = list_.values[input].base;
      if (list_.values[input].info.nbytes() != list_.values[step.output].info.nbytes()) continue;  // it is broadcast
      if (list_.values[base].source == Source::step && base != list_.output && last[base] == i)
        homes[step.output] = homes[base];
    }
  }
  return homes;
}

}  // namespace thimble::nn
