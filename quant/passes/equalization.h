// Cross-layer equalization: a network whose weights are easier to quantize, and which computes the same.
//
//   nn::Graph equalized = quant::cross_layer_equalization(quant::fuse_conv_bn_relu(graph));
//   nn::Graph prepared = quant::prepare(equalized, mapping);
#pragma once

#include <string>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/nn/graph/graph.h>

namespace thimble::quant {

/// Two layers that were equalized.
struct THIMBLE_API EqualizedPair {
  std::string first, second;
  int64_t channels = 0;  ///< between them
  /// What the first one's output channels were divided by, and the second one's input channels multiplied by.
  double smallest_factor = 1, largest_factor = 1;
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
/// Between the two may stand what works on each channel by itself and lets positive factors through: relu, max_pool2d,
/// avg_pool2d, adaptive_avg_pool2d, dropout in evaluation mode, and flatten behind a convolution, which makes of a
/// channel as many features as it has pixels. Each value on the way has one reader, and each of the two layers one
/// call. Channels whose weights are all 0 on one side stay as they are.
///
/// The input graph stays as it is. Throws ValueError for weights or biases that are not finite. `report`, if given, is
/// overwritten.
THIMBLE_API nn::Graph cross_layer_equalization(const nn::Graph& fused, EqualizationReport* report = nullptr);

}  // namespace thimble::quant
