// The steps for inputs of known shapes, and where their values lie.
#pragma once

#include <span>
#include <vector>

#include <thimble/nn/inference/step_list.h>
#include <thimble/nn/inference/work_memory.h>

namespace thimble::nn {

/// A graph made ready for inputs of one list of shapes.
class Program {
 public:
  Program(const Graph& graph, const std::vector<ValueInfo>& inputs, SharedState& shared);

  /// The most samples that a part of the batch should have; 0 if the batch must not be divided.
  int64_t part_size() const;

  const ValueInfo& output() const { return list_.values[list_.output].info; }

  /// Runs all steps. Arguments and output are in step order, dense. May run on several threads at once.
  void run(std::span<const void* const> arguments, void* output, WorkMemory& memory) const;

 private:
  void place_values();
  std::vector<size_t> last_uses() const;
  std::vector<size_t> share_places() const;

  int64_t batch_;  // of the first input
  StepList list_;
  std::vector<int64_t> offsets_;  // of values in a block; scratch memory and a table of the values follow
  int64_t scratch_offset_ = 0, table_offset_ = 0;
};

}  // namespace thimble::nn
