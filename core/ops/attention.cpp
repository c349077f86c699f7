#include <cmath>

#include <thimble/core/ops/attention.h>
#include <thimble/core/ops/dropout.h>
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/matmul.h>
#include <thimble/core/ops/reduce.h>
#include <thimble/core/ops/shape.h>

namespace thimble {

namespace {

// Far below all scores, and finite in bfloat16, too: a row of it has a softmax.
constexpr double kHiddenScore = -1e30;

void check_bools(const Tensor& mask) {
  if (!mask.defined()) return;
  check<DTypeError>(mask.dtype() == DType::bool_, "attention: a mask of ", mask.dtype(),
                    ", expected bool, or floats to add");
}

// A mask does not make more scores of some: a batch of 3 with that of 1 is a mistake.
void check_fits(const Tensor& mask, const Tensor& scores) {
  if (!mask.defined()) return;
  check<ShapeError>(broadcast_shapes(mask.shape(), scores.shape(), "attention") == scores.shape(),
                    "attention: a mask of shape ", mask.shape(), " does not fit scores ", scores.shape());
}

// [l, s]: true at and below the diagonal.
NDArray causal_mask(int64_t l, int64_t s) {
  NDArray seen({l, s}, DType::bool_);
  bool* p = seen.data<bool>();
  for (int64_t row = 0; row < l; ++row)
    for (int64_t column = 0; column < s; ++column) p[row * s + column] = column <= row;
  return seen;
}

}  // namespace

Tensor attention_weights(const Tensor& query, const Tensor& key, const AttentionMasks& masks,
                         std::optional<double> scale) {
  check<ShapeError>(query.ndim() >= 2 && key.ndim() >= 2 && query.shape(-1) == key.shape(-1), "attention: query ",
                    query.shape(), " and key ", key.shape(), " must be [..., length, size] of one size");
  check_bools(masks.seen);
  check_bools(masks.hidden);
  const double factor = scale.value_or(1 / std::sqrt(static_cast<double>(std::max<int64_t>(1, query.shape(-1)))));
  Tensor scores = matmul(query, transpose(key, key.ndim() - 2, key.ndim() - 1)) * factor;
  for (const Tensor& mask : {masks.added, masks.seen, masks.hidden}) check_fits(mask, scores);
  if (masks.added.defined()) scores = scores + masks.added;
  const Tensor fill = Tensor::scalar(kHiddenScore, scores.dtype());
  if (masks.seen.defined()) scores = where(masks.seen, scores, fill);
  if (masks.hidden.defined()) scores = where(masks.hidden, fill, scores);
  return softmax(scores, -1);
}

Tensor scaled_dot_product_attention(const Tensor& query, const Tensor& key, const Tensor& value, const Tensor& mask,
                                    const AttentionOptions& options) {
  check<ValueError>(!options.is_causal || !mask.defined(),
                    "scaled_dot_product_attention: is_causal is a mask: leave out the other one, or make one of both");
  check<ShapeError>(key.ndim() >= 2 && value.ndim() >= 2 && value.shape(-2) == key.shape(-2),
                    "scaled_dot_product_attention: key ", key.shape(), " and value ", value.shape(),
                    " must be of one length");
  AttentionMasks masks;
  if (options.is_causal) masks.seen = causal_mask(query.shape(-2), key.shape(-2));
  if (mask.defined()) (mask.dtype() == DType::bool_ ? masks.seen : masks.added) = mask;
  const Tensor weights = attention_weights(query, key, masks, options.scale);
  return matmul(options.dropout_p > 0 ? dropout(weights, options.dropout_p) : weights, value);
}

}  // namespace thimble
