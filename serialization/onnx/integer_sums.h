// MatMulInteger and ConvInteger with what becomes of their sums, as one layer. Internal.
#pragma once

#include <memory>
#include <optional>
#include <unordered_map>

#include <thimble/core/ops/conv.h>
#include <thimble/nn/graph/graph.h>

namespace thimble::onnx {

/// What a node that gives int32 sums of products was imported from.
struct ImportedIntegerSums {
  nn::Node* x = nullptr;           ///< the integers
  nn::Node* zero_point = nullptr;  ///< of them, where it is computed
  NDArray known_zero_point;        ///< where it is not; undefined: 0
  NDArray weight;                  ///< int8 [out, ...], whose zero point is 0
  std::optional<Conv2dOptions> conv = std::nullopt;
  int rank = -1;  ///< of the sums; -1 where nobody knows
};

/// What DynamicQuantizeLinear made its integers of.
struct DynamicIntegers {
  nn::Node *x = nullptr, *scale = nullptr, *zero_point = nullptr;
};

/// By the nodes of sums, and of integers.
struct ImportedSums {
  std::unordered_map<const nn::Node*, ImportedIntegerSums> sums;
  std::unordered_map<const nn::Node*, DynamicIntegers> dynamic;
};

/// Sums as floats, times a factor for each channel.
struct ScaledSums {
  const ImportedIntegerSums* sums = nullptr;
  const DynamicIntegers* dynamic = nullptr;  ///< whose scale is part of the factor; null for none
  std::vector<float> factor;                 ///< [out]
  std::vector<int32_t> bias;                 ///< [out], of a factor that is known as a whole
};

/// What a node of the op mul computes, if it is that.
std::optional<ScaledSums> scaled_sums(const nn::Graph& graph, const ImportedSums& imported, const nn::Node* multiply);

/// A layer that computes the same bits, float32: QuantizedLinear or QuantizedConv2d, for an input of scale 1 whose
/// integers are unsigned after `shift` was added; or a dynamic layer, for the floats. Throws ValueError for factors and
/// zero points that layers cannot have.
std::shared_ptr<nn::Module> layer_of(const ScaledSums& sums, int32_t shift);

}  // namespace thimble::onnx
