#include <cmath>

#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/loss.h>
#include <thimble/core/ops/loss_reduction.h>

namespace thimble {

namespace {

Tensor absolute_difference(const char* loss, const Tensor& input, const Tensor& target) {
  const Tensor x = in_full_precision(input), t = in_full_precision(target);
  check_loss_operands(loss, x, t);
  return abs(x - t);
}

// d^2 / 2 below the bound, else bound (d - bound / 2): both are c (d - c / 2), where c ends at the bound.
Tensor quadratic_then_linear(const Tensor& d, double bound) {
  const Tensor c = clamp(d, 0, bound);
  return c * (d - 0.5 * c);
}

}  // namespace

Tensor l1_loss(const Tensor& input, const Tensor& target, Reduction reduction) {
  return reduce_losses(absolute_difference("l1_loss", input, target), reduction);
}

Tensor smooth_l1_loss(const Tensor& input, const Tensor& target, Reduction reduction, double beta) {
  check<ValueError>(beta >= 0 && std::isfinite(beta), "smooth_l1_loss: beta ", beta,
                    " must be finite and not negative");
  const Tensor d = absolute_difference("smooth_l1_loss", input, target);
  return reduce_losses(beta == 0 ? d : quadratic_then_linear(d, beta) / beta, reduction);
}

Tensor huber_loss(const Tensor& input, const Tensor& target, Reduction reduction, double delta) {
  check<ValueError>(delta > 0 && std::isfinite(delta), "huber_loss: delta ", delta, " must be finite and above 0");
  return reduce_losses(quadratic_then_linear(absolute_difference("huber_loss", input, target), delta), reduction);
}

}  // namespace thimble
