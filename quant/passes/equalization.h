// Cross-layer equalization: a network whose weights are easier to quantize, and which computes the same.
//
//   nn::Graph equalized = quant::cross_layer_equalization(quant::as_convolutions(graph));
//   nn::Graph prepared = quant::prepare(equalized, mapping);
#pragma once

#include <span>
#include <string>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/nn/graph/graph.h>
#include <thimble/quant/qconfig.h>

namespace thimble::quant {

/// Two layers that were equalized.
struct THIMBLE_API EqualizedPair {
  std::string first, second;
  /// What the first one's output channels were divided by, and the second one's input channels multiplied by.
  std::vector<double> factors = {};
};

/// In the order of the graph.
using EqualizationReport = std::vector<EqualizedPair>;

/// Nagel et al., "Data-free quantization through weight equalization and bias correction", 2019, sections 4.1.1 and
/// 4.1.2, without absorbing high biases. Where one linear or convolutional layer (fused with relu or not, grouped or
/// not) feeds another, its output channel i is divided by s_i = sqrt(r1_i / r2_i) and the other one's input channel i
/// multiplied by it; r1_i and r2_i are the largest magnitudes of the channel's weights here and there, which become
/// equal. Rounds over all pairs are repeated until nothing changes by more than a thousandth. Worth it for weights
/// quantized per tensor, and for networks whose channels' ranges differ much.
///
/// Between the two may stand what works on each channel by itself and lets positive factors through: relu, leaky_relu,
/// max_pool2d, avg_pool2d, adaptive_avg_pool2d, dropout in evaluation mode, and flatten behind a convolution, which
/// makes of a channel as many features as it has pixels. Each value on the way has one reader, and each of the two
/// layers one call. Channels whose weights are all 0 on one side stay as they are.
///
/// The input graph stays as it is. Throws ValueError for weights or biases that are not finite. `report`, if given, is
/// overwritten.
THIMBLE_API nn::Graph cross_layer_equalization(const nn::Graph& fused, EqualizationReport* report = nullptr);

/// The same where the second layer is a depthwise convolution, by the ranges of the values between the two, which the
/// batches show: each channel's comes half way nearer to that of all channels, in decibels. Only where the mapping
/// gives both layers weights with a scale for each channel: their integers then stay what they are, so that it costs
/// nothing, and channels of small values use more of the values' integers; half of the distance is left for values that
/// the batches do not show. Weights, which other equalizations look at, say nothing there.
///
/// The input graph stays as it is. Throws ValueError for weights, biases or values that are not finite, and if there is
/// something to equalize and no batch.
THIMBLE_API nn::Graph depthwise_equalization(const nn::Graph& fused, const QConfigMapping& mapping,
                                             std::span<const Tensor> batches, EqualizationReport* report = nullptr);
/// Does to the graph what a report says. Throws ValueError if it has no such pairs, for weights or biases of theirs
/// that are not finite, and for factors that are not from 2^-20 to 2^20.
THIMBLE_API nn::Graph equalize(const nn::Graph& fused, const EqualizationReport& report);

}  // namespace thimble::quant
