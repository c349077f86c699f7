// Fusion: layers that follow each other as one. A pass: its input graph stays as it is.
#pragma once

#include <thimble/nn/graph.h>

namespace thimble::quant {

/// linear + relu becomes LinearReLU, where nobody else needs the linear layer's own output and the layer is called
/// once.
nn::Graph fuse_conv_bn_relu(const nn::Graph& graph);

}  // namespace thimble::quant
