// Losses that ask for a margin between what belongs together and what does not.
#include <cmath>

#include <thimble/core/ops/distance.h>
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/indexing.h>
#include <thimble/core/ops/loss.h>
#include <thimble/core/ops/loss_reduction.h>
#include <thimble/core/ops/reduce.h>
#include <thimble/core/ops/shape.h>

namespace thimble {

namespace {

void check_finite(const char* loss, const char* option, double value) {
  check<ValueError>(std::isfinite(value), loss, ": ", option, " ", value, " is not finite");
}

// Whether each target is 1; all others must be -1.
Tensor is_similar(const char* loss, const Tensor& target) {
  const auto values = target.data().to_vector<double>();
  for (size_t i = 0; i < values.size(); ++i)
    check<ValueError>(std::abs(values[i]) == 1, loss, ": target ", i, " is ", values[i], ", expected 1 or -1");
  return equal(target, Tensor::scalar(1, target.dtype()));
}

// relu, with a gradient of 1 where it is 0 exactly, as PyTorch's losses have it.
Tensor above_zero(const Tensor& x) { return clamp(x, 0); }

}  // namespace

Tensor hinge_embedding_loss(const Tensor& input, const Tensor& target, double margin, Reduction reduction) {
  check_finite("hinge_embedding_loss", "margin", margin);
  const Tensor x = in_full_precision(input);
  check<ShapeError>(x.shape() == target.shape(), "hinge_embedding_loss: input ", x.shape(), " and target ",
                    target.shape(), " differ");
  return reduce_losses(where(is_similar("hinge_embedding_loss", target), x, above_zero(margin - x)), reduction);
}

Tensor multi_margin_loss(const Tensor& input, const Tensor& target, const MultiMarginLossOptions& o) {
  check<ValueError>(o.p == 1 || o.p == 2, "multi_margin_loss: p ", o.p, " is neither 1 nor 2");
  check_finite("multi_margin_loss", "margin", o.margin);
  const Tensor x = in_full_precision(input);
  check<ShapeError>(x.ndim() == 2 && target.shape() == Shape{x.shape(0)},
                    "multi_margin_loss: expects input [n, classes] and target [n], got ", x.shape(), " and ",
                    target.shape());
  const DType dtype = target.dtype();
  check<DTypeError>(dtype == DType::int64 || dtype == DType::int32 || dtype == DType::uint8,
                    "multi_margin_loss: target must be int64, int32 or uint8, got ", dtype);
  const Tensor classes = cast(target, DType::int64), own = unsqueeze(classes, 1);
  const Tensor hinge = relu(x - gather(x, 1, own) + o.margin);
  const Tensor all = Tensor(NDArray::arange(x.shape(1), DType::int64));
  const Tensor others = where(equal(all, own), Tensor::scalar(0, x.dtype()), o.p == 1 ? hinge : hinge * hinge);
  Tensor losses = mean(others, {1});
  if (o.weight.defined()) {
    check<ShapeError>(o.weight.shape() == Shape{x.shape(1)}, "multi_margin_loss: weight must be [", x.shape(1),
                      "], got ", o.weight.shape());
    losses = losses * index_select(o.weight, 0, classes);
  }
  return reduce_losses(losses, o.reduction);
}

Tensor triplet_margin_loss(const Tensor& anchor, const Tensor& positive, const Tensor& negative,
                           const TripletMarginLossOptions& o) {
  check_finite("triplet_margin_loss", "margin", o.margin);
  const Tensor a = in_full_precision(anchor), p = in_full_precision(positive), n = in_full_precision(negative);
  check<ShapeError>(a.shape() == p.shape() && a.shape() == n.shape(), "triplet_margin_loss: anchor ", a.shape(),
                    ", positive ", p.shape(), " and negative ", n.shape(), " differ");
  Tensor to_negative = pairwise_distance(a, n, o.p, o.eps);
  if (o.swap) to_negative = minimum(to_negative, pairwise_distance(p, n, o.p, o.eps));
  return reduce_losses(above_zero(pairwise_distance(a, p, o.p, o.eps) - to_negative + o.margin), o.reduction);
}

Tensor cosine_embedding_loss(const Tensor& input1, const Tensor& input2, const Tensor& target, double margin,
                             Reduction reduction) {
  check<ValueError>(margin >= -1 && margin <= 1, "cosine_embedding_loss: margin ", margin, " is not in [-1, 1]");
  const Tensor x1 = in_full_precision(input1), x2 = in_full_precision(input2);
  Shape expected = x1.shape();
  check<ShapeError>(x1.ndim() >= 1 && x1.ndim() <= 2 && x2.shape() == expected,
                    "cosine_embedding_loss: expects inputs [n, features] of one shape, got ", x1.shape(), " and ",
                    x2.shape());
  expected.erase(expected.ndim() - 1);
  check<ShapeError>(target.shape() == expected, "cosine_embedding_loss: inputs ", x1.shape(), " expect target ",
                    expected, ", got ", target.shape());
  constexpr double kEps = 1e-12;  // PyTorch's, added to the squares of lengths
  const auto unit = [](const Tensor& x) { return x / sqrt(sum(x * x, {-1}, true) + kEps); };
  const Tensor cosine = sum(unit(x1) * unit(x2), {-1});
  const Tensor similar = is_similar("cosine_embedding_loss", target);
  return reduce_losses(where(similar, 1.0 - cosine, above_zero(cosine - margin)), reduction);
}

}  // namespace thimble
