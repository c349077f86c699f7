// Fusion: nodes that follow each other become one. Batch normalization disappears into the weights, arithmetic with a
// constant for each output channel into weights and bias, relu into the layer or op that it follows.
//
//   quant::FusionReport report;
//   nn::Graph fused = quant::fuse_conv_bn_relu(nn::trace(net.eval(), example), &report);
//   for (const auto& pair : report)
//     if (!pair.fused) std::cout << pair.node << " and " << pair.with << ": " << pair.reason << '\n';
//
// What holds for this pass holds for the others: the input graph stays as it is, and the result shares no memory with
// it; a node that takes another one's work over keeps its own name, so that configurations that name layers
// (`block1.conv`) go on naming them; parameters that are frozen stay frozen, and each layer and the graph stay in the
// mode (training or evaluation) that they are in; the result is verified; a pass over its own result changes nothing.
#pragma once

#include <string>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/nn/graph/graph.h>

namespace thimble::quant {

/// Two nodes that stand directly after each other and are of kinds that can be fused.
struct THIMBLE_API FusionAttempt {
  std::string node;  ///< the first one, which the fused one is called after
  std::string with;  ///< batch normalization, relu, or arithmetic with a constant
  bool fused = false;
  std::string reason;  ///< why not; empty if they are fused
};

/// In the order of the graph, all calls of a layer together. What follows a fused pair makes a pair with it: conv + bn
/// + relu are two attempts, {conv, bn} and {conv, relu}.
using FusionReport = std::vector<FusionAttempt>;

/// conv2d + batch norm -> Conv2d, conv1d + batch norm -> Conv1d, conv3d + batch norm -> Conv3d, linear + batch norm ->
/// Linear, each of them with the normalization's running statistics, weight and bias in its own weight and bias
/// (computed in float64; a layer without bias gets one, frozen if the weight is); conv2d + relu -> Conv2dReLU, linear +
/// relu -> LinearReLU, add + relu -> add_relu; conv2d, conv_transpose2d or linear + the addition or subtraction of a
/// constant of the graph, [out, 1, 1] or [out], -> the same layer with a bias, as models from elsewhere spell it;
/// conv2d or linear + its multiplication, division by it, or subtraction from it -> the same layer with other weights.
///
/// A layer that is called more than once has one set of weights: what follows is fused into it if the same follows all
/// its calls (relu, calls of one batch normalization, which are all that there are, or the same constant).
///
/// Two nodes are not fused if
/// - the first one's value has a second user, or is the graph's output;
/// - the constant has a factor or divisor beyond 1e6 or, unless it is a factor of 0, within 1e-6 of 0, or a number that
///   is not finite;
/// - the constant has a number beyond 1000, and what it makes is read by softmax alone: then it is a mask;
/// - another call of the first one's layer is followed by something else, or cannot be fused for one of these reasons;
/// - the batch normalization is called behind other layers, too;
/// - batch normalization is in training mode, where the batch's own statistics count;
/// - batch normalization has another number of features than the layer has output channels;
/// - batch normalization follows a linear layer whose output is not known to be rows [n, features], for of [n,
/// channels,
///   length] it would normalize the channels. nn::trace() notes the number of dimensions ("ndim") on the layer's node.
///
/// `report`, if given, is overwritten.
THIMBLE_API nn::Graph fuse_conv_bn_relu(const nn::Graph& graph, FusionReport* report = nullptr);
/// The same without constants in biases, for training, which goes on with the layers as they were.
nn::Graph fuse_for_training(const nn::Graph& graph, FusionReport* report = nullptr);

}  // namespace thimble::quant
