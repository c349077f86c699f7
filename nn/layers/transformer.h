// TransformerEncoderLayer, TransformerEncoder (Vaswani et al. 2017).
//
//   nn::Submodule<nn::TransformerEncoder> encoder{this, "encoder", 64, 4, 2,
//                                                 {.layer = {.dim_feedforward = 128, .batch_first = true}}};
//   Tensor h = encoder(x);                 // [n, length, 64] -> [n, length, 64]
//   h = encoder(x, Tensor(), padding);  // padding [n, length], bool: true where there is no token
#pragma once

#include <memory>

#include <thimble/core/api.h>
#include <thimble/nn/layers/attention.h>
#include <thimble/nn/layers/dropout.h>
#include <thimble/nn/layers/layer_norm.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/nn/module.h>

namespace thimble::nn {

/// Attention of x to itself and two linear layers, each added to what it reads and normalized: PyTorch's names of
/// tensors, defaults and initial weights. layer(x[, src_mask[, src_key_padding_mask]]): x [length, n, d_model], with n
/// first if batch_first, and without n if the batch is left out, gives its shape; masks as MultiheadAttention's,
/// Tensor() for one that is not there. A container: traced, it is the layers and ops that it is made of.
class THIMBLE_API TransformerEncoderLayer : public Module {
 public:
  /// What is between the two linear layers.
  enum class Activation { relu, gelu };

  /// What may follow the sizes.
  struct Options {
    int64_t dim_feedforward = 2048;
    double dropout = 0.1;  ///< in training: of attention's weights, between the linear layers, of what is added
    Activation activation = Activation::relu;
    double layer_norm_eps = 1e-5;
    bool batch_first = false;
    bool norm_first = false;  ///< normalizes what attention and the linear layers read, in place of the sums
  };

  /// Throws ValueError for sizes below 1, heads that do not divide d_model and a dropout outside [0, 1].
  TransformerEncoderLayer(int64_t d_model, int64_t nhead, Options options);
  TransformerEncoderLayer(int64_t d_model, int64_t nhead) : TransformerEncoderLayer(d_model, nhead, Options()) {}
  template <typename Slip = thimble::detail::NotAnOptionOf<Options>>
  TransformerEncoderLayer(int64_t d_model, int64_t nhead, ...) = delete;

  Tensor forward_all(std::span<const Tensor> inputs) override;

 private:
  Tensor attend(const Tensor& x, std::span<const Tensor> masks);
  Tensor feed_forward(const Tensor& x);

  Options options_;
  Submodule<MultiheadAttention> self_attn_;
  Submodule<Linear> linear1_;
  Submodule<Dropout> dropout_;
  Submodule<Linear> linear2_;
  Submodule<LayerNorm> norm1_, norm2_;
  Submodule<Dropout> dropout1_, dropout2_;
};

/// num_layers TransformerEncoderLayers one after the other, called "layers.0", "layers.1", ..., each with weights of
/// its own (PyTorch's begin as copies of one), and a last LayerNorm "norm" if wanted. Called as one of them.
class THIMBLE_API TransformerEncoder : public Module {
 public:
  /// What may follow the sizes.
  struct Options {
    TransformerEncoderLayer::Options layer = {};
    bool norm = false;
  };

  /// Throws ValueError as TransformerEncoderLayer, and for less than one layer.
  TransformerEncoder(int64_t d_model, int64_t nhead, int64_t num_layers, Options options);
  TransformerEncoder(int64_t d_model, int64_t nhead, int64_t num_layers)
      : TransformerEncoder(d_model, nhead, num_layers, Options()) {}
  template <typename Slip = thimble::detail::NotAnOptionOf<Options>>
  TransformerEncoder(int64_t d_model, int64_t nhead, int64_t num_layers, ...) = delete;

  Tensor forward_all(std::span<const Tensor> inputs) override;

 private:
  std::shared_ptr<Module> layers_, norm_;  // norm_ is null if there is none
};

}  // namespace thimble::nn
