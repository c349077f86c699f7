// A product with weights and what it does on its way out besides: the part that the steps of Linear and Conv2d share.
// Internal.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include <thimble/core/kernels/gemm/epilogue.h>
#include <thimble/core/ndarray.h>
#include <thimble/nn/inference/following.h>
#include <thimble/nn/inference/shared_weights.h>

namespace thimble::nn {

/// W x + b, and then what it has absorbed.
class FusedProduct {
 public:
  /// Whether it can be made of these: float32, bias perhaps undefined.
  static bool takes(const Tensor& weight, const Tensor& bias);

  /// weight is [out, ...]; bias is [out], or undefined.
  FusedProduct(NDArray weight, const NDArray& bias, bool relu);

  /// A scale is multiplied into weight and bias. It is refused where it would turn one of them into something that is
  /// not finite, or is so large or small that sums could leave float32 which would not have left it in two steps.
  bool absorb(const Following& next, SharedWeights& weights);

  /// Packs the weight, unless a step of the same layer with the same key has: pack(weight, scale) gives a T. weight is
  /// as it was given, and each output's is to be multiplied with scale[output], in float64, unless scale is null: a
  /// copy with the scale in it would take as much memory again.
  template <typename T, typename Pack>
  std::shared_ptr<const T> packed(SharedWeights& weights, SharedWeights::Key layout, Pack&& pack) const {
    layout.insert(layout.begin(), {kPacked, scale_id()});
    return weights.get<T>(
        layout, [&] { return pack(weight_.read_once(), after_.scale ? after_.scale->scale.data() : nullptr); });
  }

  /// `inputs` are the step's.
  kernels::Epilogue<float> epilogue(std::span<const void* const> inputs) const;

 private:
  // A bias with a scale in it, and whether the weight takes the scale, too.
  struct Folded {
    bool is_sound;
    NDArray bias;
  };
  enum KeyKind : int64_t { kPacked, kFolded };

  int64_t scale_id() const { return reinterpret_cast<intptr_t>(after_.scale ? after_.scale->layer : nullptr); }
  Folded fold(const ChannelScale& by) const;

  NDArray weight_, bias_;
  std::shared_ptr<const Folded> folded_;
  Following after_;
};

}  // namespace thimble::nn
