#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/loss.h>
#include <thimble/core/ops/loss_reduction.h>

namespace thimble {

Tensor kl_div(const Tensor& input, const Tensor& target, Reduction reduction, bool log_target) {
  const Tensor x = in_full_precision(input), t = in_full_precision(target);
  check_loss_operands("kl_div", x, t);
  // What has a probability of 0 counts for nothing, though its logarithm, and that of the input, may be infinite.
  const Tensor zero = Tensor::scalar(0, x.dtype()), probabilities = log_target ? exp(t) : t;
  const Tensor counts_not = equal(probabilities, zero);
  const Tensor logarithms = log_target ? t : log(where(counts_not, Tensor::scalar(1, x.dtype()), t));
  return reduce_losses(probabilities * where(counts_not, zero, logarithms - x), reduction);
}

}  // namespace thimble
