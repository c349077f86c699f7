// A program for a whole batch, or for the parts of it that threads take in turn.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include <thimble/core/tensor.h>
#include <thimble/nn/inference/program.h>
#include <thimble/nn/inference/thread_choice.h>

namespace thimble::nn {

/// Takes tensors and gives tensors, whatever their strides.
class BatchedProgram {
 public:
  using Make = std::function<std::shared_ptr<const Program>(const std::vector<ValueInfo>& inputs)>;

  /// For inputs like these. Their batch is divided, if it is large and the program allows it: into parts of one size,
  /// of which the last may be smaller, and for which make() is called again.
  BatchedProgram(std::vector<ValueInfo> inputs, const Make& make);
  /// The batch is not divided.
  explicit BatchedProgram(std::shared_ptr<const Program> whole);

  /// Whether it was made for inputs like these, of the same values where they were told.
  bool fits(std::span<const Tensor> inputs) const;

  /// Computes all outputs, of which there are as many as the program's. Inputs must fit. May run on several threads at
  /// once.
  void run(std::span<const Tensor> inputs, std::span<Tensor> outputs, WorkMemory& memory) const;

 private:
  int64_t batch() const { return inputs_[0].shape.ndim() > 0 ? inputs_[0].shape[0] : 1; }
  std::shared_ptr<const Program> part_of_whole(const Make& make, int64_t samples) const;
  void run_whole(std::span<const void* const> arguments, std::span<void* const> results, WorkMemory& memory) const;
  NDArray output_array(const ValueInfo& of_part) const;

  std::vector<ValueInfo> inputs_;
  int64_t part_ = 0, parts_ = 1;
  std::shared_ptr<const Program> program_, last_;
  mutable ThreadChoice choice_;  // of calls that are not divided
};

/// What a program knows of a tensor.
ValueInfo info_of(const Tensor& x);

/// Whether the inputs are like these, and of the same values where the infos tell them.
bool are_described(std::span<const Tensor> inputs, std::span<const ValueInfo> infos);

}  // namespace thimble::nn
