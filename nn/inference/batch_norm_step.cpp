#include <algorithm>
#include <cmath>
#include <typeinfo>

#include <thimble/core/kernels/image/batch_norm.h>
#include <thimble/nn/inference/batch_norm_step.h>
#include <thimble/nn/inference/following.h>

namespace thimble::nn {

namespace {

// The numbers of batch_norm(), so that results are its own.
class BatchNormStep : public InferenceStep {
 public:
  BatchNormStep(const ValueInfo& x, const BatchNorm& bn)
      : InferenceStep(x), numbers_({3, x.shape[1]}), channels_(x.shape[1]) {
    const NDArray mean = bn.running_mean.data().contiguous(), variance = bn.running_var.data().contiguous();
    const NDArray weight = bn.weight.defined() ? bn.weight.data().contiguous() : NDArray::ones({channels_});
    const NDArray bias = bn.bias.defined() ? bn.bias.data().contiguous() : NDArray::zeros({channels_});
    auto* numbers = numbers_.data<float>();
    for (int64_t c = 0; c < channels_; ++c) {
      numbers[c] = mean.data<float>()[c];
      numbers[channels_ + c] =
          static_cast<float>(double{weight.data<float>()[c]} / std::sqrt(double{variance.data<float>()[c]} + bn.eps()));
      numbers[2 * channels_ + c] = bias.data<float>()[c];
    }
  }

  bool absorb(const Following& next, SharedWeights&) override {
    Following relu;
    const bool is_relu = !next.scale && !next.adds && relu.append(next) && relu.lower == 0 && std::isinf(relu.upper);
    relu_ = relu_ || is_relu;
    return is_relu;
  }

  bool is_pointwise() const override { return true; }

  void run(std::span<const void* const> inputs, void* out, uint8_t*) const override {
    const auto* numbers = numbers_.data<float>();
    kernels::map_channels(static_cast<const float*>(inputs[0]), output().shape.numel() / channels_, channels_,
                          {numbers, numbers + channels_, numbers + 2 * channels_, relu_}, static_cast<float*>(out));
  }

 private:
  NDArray numbers_;  // mean, scale and shift of each channel
  int64_t channels_;
  bool relu_ = false;
};

}  // namespace

const BatchNorm* batch_norm_of(const Module& layer, const ValueInfo& x) {
  const int ndim = x.shape.ndim();
  const bool takes = (typeid(layer) == typeid(BatchNorm2d) && ndim == 4) ||
                     (typeid(layer) == typeid(BatchNorm1d) && (ndim == 2 || ndim == 3));
  if (!takes || x.dtype != DType::float32 || x.shape.numel() == 0) return nullptr;
  const auto& bn = static_cast<const BatchNorm&>(layer);
  const Tensor own[] = {bn.running_mean, bn.running_var, bn.weight, bn.bias};
  const bool fit = bn.running_mean.defined() && std::ranges::all_of(own, [&](const Tensor& t) {
                     return !t.defined() || (t.dtype() == DType::float32 && t.shape() == Shape{x.shape[1]});
                   });
  return fit ? &bn : nullptr;
}

std::unique_ptr<InferenceStep> batch_norm_step(const BatchNorm& layer, std::span<const ValueInfo> inputs) {
  if (inputs.size() != 1 || !batch_norm_of(layer, inputs[0])) return nullptr;
  const ValueInfo& x = inputs[0];
  const bool channels_lie_last = x.shape.ndim() != 3 && x.flattened_image.empty();
  return channels_lie_last ? std::make_unique<BatchNormStep>(x, layer) : nullptr;
}

}  // namespace thimble::nn
