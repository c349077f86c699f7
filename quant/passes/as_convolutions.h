// The front of every method: fusion, what convolutions of images can compute as such, and sizes as constants.
#pragma once

#include <thimble/core/api.h>
#include <thimble/nn/graph/graph.h>

namespace thimble::quant {

/// fuse_conv_bn_relu(), and what is left of these as Conv2d layers, which it fuses in turn:
///
/// - ConvTranspose2d, of one group, dilation 1 and the same stride s both ways: a Conv2d of s^2 times the channels, of
///   which each gives one of the s^2 pixels that an input pixel becomes, then pixel_shuffle, then slices where there is
///   padding. Batch normalization and relu that follow stand before the pixel_shuffle.
/// - BatchNorm2d in evaluation mode that follows no convolution, as in a DenseNet: a 1x1 Conv2d of as many groups as
///   channels. Only `with_norms`, and behind products: it pays where integers come in.
/// - Conv1d: a Conv2d of images of one row.
/// - What follows from sizes alone: constants (fold_sizes.h).
///
/// The calls of a layer become those of one layer; a ConvTranspose2d that is called more than once stays.
///
/// A value keeps its node's name, under which its convolution is NAME.conv where another op gives the value now.
/// Results differ by rounding errors. For inference: who trains goes on with fuse_conv_bn_relu(). The input graph stays
/// as it is.
THIMBLE_API nn::Graph as_convolutions(const nn::Graph& graph, bool with_norms = true);

}  // namespace thimble::quant
