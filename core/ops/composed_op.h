// Base of ops that are formulas of other ops. Internal to core.
#pragma once

#include <vector>

#include <thimble/core/tensor.h>

namespace thimble {

/// Computed without recording; the gradient is that of the formula, which is then computed again. So nothing is kept,
/// and it can be differentiated any number of times. A tracer sees one op.
class ComposedOp : public Op {
 public:
  NDArray compute(std::span<const NDArray> inputs) override;
  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor& output) override;

 private:
  virtual Tensor formula(std::span<const Tensor> inputs) const = 0;
};

}  // namespace thimble
