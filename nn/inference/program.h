// The steps for inputs of known shapes, and where their values lie.
#pragma once

#include <span>
#include <string>
#include <vector>

#include <thimble/nn/inference/step_list.h>
#include <thimble/nn/inference/work_memory.h>

namespace thimble::nn {

/// What a program takes or gives.
struct NamedValue {
  std::string name;
  ValueInfo info;
};

/// Steps made ready to run.
class Program {
 public:
  explicit Program(StepList steps);

  const std::vector<NamedValue>& inputs() const { return inputs_; }
  const std::vector<NamedValue>& outputs() const { return outputs_; }

  /// The most samples that a part of the batch should have; 0 if the batch must not be divided.
  int64_t part_size() const;
  /// Whether this program, of fewer samples, does with each what `whole` does: nodes give the same sizes but for the
  /// batch's. What follows from sizes, the shape of a reshape say, may tell the batches apart.
  bool is_part_of(const Program& whole) const;

  /// Runs all steps. Arguments and results are those of inputs() and outputs(), in step order (see in_step_order),
  /// dense, and no result's memory is another's. May run on several threads at once.
  void run(std::span<const void* const> arguments, std::span<void* const> results, WorkMemory& memory) const;

  const std::vector<StepList::Step>& steps() const { return list_.steps; }
  /// run(), which writes how long each step took, in seconds.
  void run_timed(std::span<const void* const> arguments, std::span<void* const> results, WorkMemory& memory,
                 std::span<double> seconds) const;

 private:
  // Calls run_step(step, operands, out, scratch) for each step in order, between what comes before the first and what
  // comes after the last.
  template <typename RunStep>
  void run_steps(std::span<const void* const> arguments, std::span<void* const> results, WorkMemory& memory,
                 const RunStep& run_step) const;
  void place_values();
  std::vector<size_t> last_uses() const;
  std::vector<size_t> share_places() const;
  bool may_lie_in(const StepList::Step& step, size_t input) const;
  bool is_output(size_t value) const;

  StepList list_;
  std::vector<NamedValue> inputs_, outputs_;
  std::vector<int64_t> offsets_;  // of values in a block; scratch memory and a table of the values follow
  int64_t scratch_offset_ = 0, table_offset_ = 0;
};

}  // namespace thimble::nn
