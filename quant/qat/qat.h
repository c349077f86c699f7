// Quantization-aware training: a network is trained with the rounding that integers will bring (Jacob et al. 2018).
//
//   nn::Graph net = quant::prepare_qat(load_model("float.safetensors"), quant::QConfigMapping::static_int8());
//   train_epoch(net, adam);                                        // as usual
//   quant::freeze_bn_stats(net), quant::disable_observer(net);     // for the last part
//   train_epoch(net, adam);
//   nn::Graph int8 = quant::convert(net);
#pragma once

#include <thimble/core/api.h>
#include <thimble/quant/quantize.h>

namespace thimble::quant {

/// Options of prepare_qat().
struct THIMBLE_API QATOptions {
  /// Scales are parameters (LSQ: Esser et al. 2020; with zero points that stay, as in LSQ+), instead of following what
  /// observers see.
  bool learned_step_size = false;
};

/// A copy of the graph in training mode, in which weights and activations are fake-quantized where convert() will make
/// integers of them: layers become QATLinear and QATConv2d, with the batch normalization and the relu behind them
/// inside (see fuse_conv_bn_relu), or QATLSTM, QATGRU and QATRNN, and FakeQuantize stands where prepare() puts
/// observers; but differences, maxima and minima of two values stay float. Give it the graph unfused, so that batch
/// normalization goes on learning; behind a layer that stays float it stays as it is. Parameters that are frozen
/// (requires_grad() false) stay frozen. Activations follow the mapping's observer, "moving-average" if that says
/// "minmax"; weights follow the extremes of each step, whatever the mapping's weight observer. Throws as prepare()
/// does.
THIMBLE_API nn::Graph prepare_qat(const nn::Graph& graph, const QConfigMapping& mapping,
                                  const QATOptions& options = {});

/// Batch normalization inside QAT layers uses its running statistics from now on, and leaves them as they are.
THIMBLE_API void freeze_bn_stats(nn::Graph& graph);
/// Ranges stay as they are (learned scales, too), or follow again. While they stay, biases are rounded as those of the
/// integer layers will be, whose scale is that of inputs times that of weights.
THIMBLE_API void disable_observer(nn::Graph& graph);
THIMBLE_API void enable_observer(nn::Graph& graph);
/// Values pass unrounded, as if nothing was quantized, or are rounded again.
THIMBLE_API void disable_fake_quant(nn::Graph& graph);
THIMBLE_API void enable_fake_quant(nn::Graph& graph);

}  // namespace thimble::quant
