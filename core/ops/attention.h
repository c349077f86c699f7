// Attention: softmax(q k^T * scale) v.
#pragma once

#include <optional>

#include <thimble/core/api.h>
#include <thimble/core/tensor.h>

namespace thimble {

/// What may follow scaled_dot_product_attention()'s tensors.
struct THIMBLE_API AttentionOptions {
  double dropout_p = 0;              ///< of the weights; not only in training: 0 is for evaluation, as in PyTorch
  bool is_causal = false;            ///< query i sees keys 0 to i alone
  std::optional<double> scale = {};  ///< of the scores; 1 / sqrt(size) if there is none
};

/// query [..., l, size], key [..., s, size], value [..., s, out] -> [..., l, out], as in PyTorch; leading dimensions,
/// of which heads are one, broadcast. A mask broadcasts to [..., l, s]. Of bools, it is true where a query sees a key;
/// what it does not see has a score of -1e30, so that a query that sees none gets the mean of the values, not NaN. A
/// mask of floats is added to the scores; a row of minus infinities is NaN, as softmax is of it. Made of ops that
/// passes know: a traced graph has two matmul and a softmax. One that was traced with is_causal serves the example's
/// lengths. Throws ShapeError, DTypeError, and ValueError for a mask beside is_causal.
THIMBLE_API Tensor scaled_dot_product_attention(const Tensor& query, const Tensor& key, const Tensor& value,
                                                const Tensor& mask = {}, const AttentionOptions& options = {});

/// Which keys scores leave out.
struct THIMBLE_API AttentionMasks {
  Tensor added = {};   ///< to scores, of their dtype
  Tensor seen = {};    ///< bool; false: left out
  Tensor hidden = {};  ///< bool; true: left out
};

/// The first half: softmax(q k^T * scale) of masked scores, [..., l, s]. Masks that are undefined do nothing.
THIMBLE_API Tensor attention_weights(const Tensor& query, const Tensor& key, const AttentionMasks& masks = {},
                                     std::optional<double> scale = {});

}  // namespace thimble
