// Steps of layers that join two values of integers. Internal.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include <thimble/core/kernels/int8/uint8_maps.h>
#include <thimble/nn/inference/inference.h>

namespace thimble::quant {

/// What the kernel of two operands makes of n elements of each.
template <typename Args>
using PairKernel = void (*)(const uint8_t* a, const uint8_t* b, int64_t n, const Args& args, uint8_t* out);

/// The same of one pair of elements after the other, with the second operand's first.
kernels::QuantizedAddArgs swapped(kernels::QuantizedAddArgs args);
kernels::QuantizedMulArgs swapped(kernels::QuantizedMulArgs args);

/// An operand whose elements meet those of another, `period` after `period`, in the order of memory.
struct RepeatedOperand {
  int64_t groups;  ///< parts of the other, each of which meets a period of its own: its samples, or 1
  int64_t period;
};

/// None if the operand, broadcast to the other's shape, is anything else.
std::optional<RepeatedOperand> repeated_operand(const nn::ValueInfo& operand, const nn::ValueInfo& whole);

/// A kernel with its arguments.
class PairRun {
 public:
  virtual ~PairRun() = default;
  virtual void operator()(const uint8_t* a, const uint8_t* b, int64_t n, uint8_t* out) const = 0;
};

/// Of inputs of other shapes or orders, what they are broadcast to; null for flattened images. `run` takes the operands
/// in their order, `turned` the second one first.
std::unique_ptr<nn::InferenceStep> pair_step_of(std::span<const nn::ValueInfo> inputs, std::unique_ptr<PairRun> run,
                                                std::unique_ptr<PairRun> turned);

/// The step for two inputs that have been checked; null if they do not lie as usual.
template <typename Args>
std::unique_ptr<nn::InferenceStep> pair_step(std::span<const nn::ValueInfo> inputs, PairKernel<Args> kernel,
                                             const Args& args) {
  struct Run final : PairRun {
    Run(PairKernel<Args> of_pair, const Args& with) : kernel(of_pair), args(with) {}
    void operator()(const uint8_t* a, const uint8_t* b, int64_t n, uint8_t* out) const override {
      kernel(a, b, n, args, out);
    }
    PairKernel<Args> kernel;
    Args args;
  };
  return pair_step_of(inputs, std::make_unique<Run>(kernel, args), std::make_unique<Run>(kernel, swapped(args)));
}

}  // namespace thimble::quant
