#include <cmath>

#include <thimble/core/ops/distance.h>
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/loss_reduction.h>
#include <thimble/core/ops/math.h>
#include <thimble/core/ops/reduce.h>
#include <thimble/core/ops/shape.h>

namespace thimble {

namespace {

// sqrt() and pow() have no finite gradient at 0, where PyTorch's norm has 0.
template <typename Root>
Tensor root_of_sum(const Tensor& sum, Root&& root) {
  const Tensor is_zero = equal(sum, Tensor::scalar(0, sum.dtype()));
  const Tensor one = Tensor::scalar(1, sum.dtype()), zero = Tensor::scalar(0, sum.dtype());
  return where(is_zero, zero, root(where(is_zero, one, sum)));
}

Tensor unit_vectors(const Tensor& x, int64_t axis, double eps) {
  // The root of a clamped number, so that a vector of zeros has a gradient.
  return x / sqrt(clamp(sum(x * x, {axis}, true), eps * eps));
}

}  // namespace

Tensor pairwise_distance(const Tensor& a, const Tensor& b, double p, double eps, bool keepdim) {
  check<ValueError>(p >= 1, "pairwise_distance: p ", p, " must be at least 1");
  check<ValueError>(eps >= 0 && std::isfinite(eps), "pairwise_distance: eps ", eps, " must not be negative");
  const Tensor x1 = in_full_precision(a), x2 = in_full_precision(b);
  const Tensor difference = x1 - x2 + eps;
  check<ShapeError>(difference.ndim() > 0, "pairwise_distance: expects vectors, got ", x1.shape(), " and ", x2.shape());
  if (p == 2) return root_of_sum(sum(difference * difference, {-1}, keepdim), [](const Tensor& x) { return sqrt(x); });
  const Tensor sizes = abs(difference);
  if (p == 1) return sum(sizes, {-1}, keepdim);
  if (std::isinf(p)) return max(sizes, {-1}, keepdim);
  return root_of_sum(sum(pow(sizes, p), {-1}, keepdim), [p](const Tensor& x) { return pow(x, 1 / p); });
}

Tensor cosine_similarity(const Tensor& x1, const Tensor& x2, int64_t axis, double eps) {
  check<ValueError>(eps > 0 && std::isfinite(eps), "cosine_similarity: eps ", eps, " must be above 0");
  const Shape both = broadcast_shapes(x1.shape(), x2.shape(), "cosine_similarity");
  const auto unit = [&](const Tensor& x) { return unit_vectors(broadcast_to(in_full_precision(x), both), axis, eps); };
  return sum(unit(x1) * unit(x2), {axis});
}

}  // namespace thimble
