#include <cmath>

#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/loss_reduction.h>
#include <thimble/core/ops/norm.h>
#include <thimble/core/ops/reduce.h>

namespace thimble {

Tensor rms_norm(const Tensor& input, const Shape& normalized_shape, const Tensor& weight, double eps) {
  check<ValueError>(eps > 0 && std::isfinite(eps), "rms_norm: eps ", eps, " must be above 0");
  const Tensor x = in_full_precision(input);  // squares of bfloat16 would be rounded before they are added
  check<ShapeError>(!normalized_shape.empty(), "rms_norm: normalized_shape is empty");
  const int first = x.ndim() - normalized_shape.ndim();
  bool fits = first >= 0;
  for (int i = 0; i < normalized_shape.ndim() && fits; ++i) fits = x.shape(first + i) == normalized_shape[i];
  check<ShapeError>(fits, "rms_norm: input ", x.shape(), " does not end with normalized_shape ", normalized_shape);
  check<ShapeError>(!weight.defined() || weight.shape() == normalized_shape, "rms_norm: weight must be ",
                    normalized_shape, ", got ", weight.defined() ? weight.shape() : Shape());
  Shape axes;
  for (int i = 0; i < normalized_shape.ndim(); ++i) axes.push_back(i - normalized_shape.ndim());
  const Tensor y = x / sqrt(mean(x * x, axes, true) + eps);
  return weight.defined() ? y * weight : y;
}

}  // namespace thimble
