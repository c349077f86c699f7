#include <cmath>

#include <thimble/core/ops/distance.h>
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/reduce.h>

namespace thimble {

namespace {

Tensor unit_vectors(const Tensor& x, int64_t axis, double eps) {
  // The root of a clamped number, so that a vector of zeros has a gradient.
  return x / sqrt(clamp(sum(x * x, {axis}, true), eps * eps));
}

}  // namespace

Tensor pairwise_distance(const Tensor& x1, const Tensor& x2, double p, double eps, bool keepdim) {
  check<ValueError>(p >= 1, "pairwise_distance: p ", p, " must be at least 1");
  const Tensor difference = x1 - x2 + eps;
  check<ShapeError>(difference.ndim() > 0, "pairwise_distance: expects vectors, got ", x1.shape(), " and ", x2.shape());
  if (p == 2) return sqrt(sum(difference * difference, {-1}, keepdim));
  const Tensor sizes = abs(difference);
  if (p == 1) return sum(sizes, {-1}, keepdim);
  if (std::isinf(p)) return max(sizes, {-1}, keepdim);
  return pow(sum(pow(sizes, p), {-1}, keepdim), 1 / p);
}

Tensor cosine_similarity(const Tensor& x1, const Tensor& x2, int64_t axis, double eps) {
  check<ValueError>(eps > 0 && std::isfinite(eps), "cosine_similarity: eps ", eps, " must be above 0");
  return sum(unit_vectors(x1, axis, eps) * unit_vectors(x2, axis, eps), {axis});
}

}  // namespace thimble
