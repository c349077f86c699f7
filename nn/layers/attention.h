// MultiheadAttention (Vaswani et al. 2017).
//
//   nn::Submodule<nn::MultiheadAttention> attention{this, "attention", 64, 4, {.batch_first = true}};
//   Tensor h = attention(x);                                          // of x to itself
//   h = attention(queries, keys, values, key_padding_mask, attn_mask);  // Tensor() for a mask that is not there
#pragma once

#include <optional>

#include <thimble/core/api.h>
#include <thimble/core/ops/attention.h>
#include <thimble/nn/layers/dropout.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/nn/module.h>

namespace thimble::nn {

/// Attention of num_heads heads, each of embed_dim / num_heads features, in parallel; PyTorch's names of tensors and
/// initial weights, without the weights among its results.
///
/// layer(x), or layer(query, key, value[, key_padding_mask[, attn_mask]]): query [l, n, embed_dim], key [s, n, kdim]
/// and value [s, n, vdim] -> [l, n, embed_dim], all with n first if batch_first, and without n if the batch is left
/// out. Masks are PyTorch's: of bools, true where a key is not to be seen (the opposite of
/// scaled_dot_product_attention), of floats, added to the scores; key_padding_mask is [n, s], attn_mask [l, s] or [n *
/// num_heads, l, s]. A query whose keys are all hidden by bools gets the mean of the values, where PyTorch 1 gives NaN;
/// floats of minus infinity give NaN.
///
/// A container: traced, attention of x to itself is a Linear for queries, keys and values together (one product is
/// faster than three, and becomes one integer product), two matmul, a softmax and a Linear, for any batch and length
/// (with an attn_mask that is a constant, for its own). Other attention projects by the op linear.
class THIMBLE_API MultiheadAttention : public Module {
 public:
  /// What may follow the sizes.
  struct Options {
    double dropout = 0;  ///< of the weights, in training
    bool bias = true;
    std::optional<int64_t> kdim = {}, vdim = {};  ///< features of keys and values; embed_dim if there are none
    bool batch_first = false;
  };

  /// Throws ValueError for sizes below 1 and heads that do not divide embed_dim.
  MultiheadAttention(int64_t embed_dim, int64_t num_heads, Options options);
  MultiheadAttention(int64_t embed_dim, int64_t num_heads) : MultiheadAttention(embed_dim, num_heads, Options()) {}
  template <typename Slip = thimble::detail::NotAnOptionOf<Options>>
  MultiheadAttention(int64_t embed_dim, int64_t num_heads, ...) = delete;

  Tensor forward_all(std::span<const Tensor> inputs) override;

  /// [3 * embed_dim, embed_dim], for queries, keys and values; undefined with a kdim or vdim of its own.
  const Tensor in_proj_weight;
  /// [embed_dim, embed_dim], [embed_dim, kdim] and [embed_dim, vdim] then.
  const Tensor q_proj_weight, k_proj_weight, v_proj_weight;
  /// [3 * embed_dim]
  const Tensor in_proj_bias;

 private:
  struct Parts {
    Tensor query, key, value;
  };
  Parts project(const Tensor& query, const Tensor& key, const Tensor& value);
  Tensor split_heads(const Tensor& x) const;
  Tensor merge_heads(const Tensor& x) const;
  AttentionMasks masks_of(const Tensor& key_padding_mask, const Tensor& attn_mask, const Shape& query) const;

  int64_t embed_dim_, num_heads_;
  Options options_;
  std::shared_ptr<Linear> in_proj_;   // of in_proj_weight and in_proj_bias, so that a trace sees a layer
  std::shared_ptr<Dropout> dropout_;  // null if there is none
  Submodule<Linear> out_proj_;
};

/// [size, size] of bools, true above the diagonal: an attn_mask by which each token sees those before it and itself.
THIMBLE_API Tensor causal_mask(int64_t size);

}  // namespace thimble::nn
