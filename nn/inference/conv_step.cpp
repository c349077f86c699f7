#include <thimble/core/kernels/image/conv2d.h>
#include <thimble/core/kernels/image/conv2d_weights.h>
#include <thimble/core/kernels/image/winograd.h>
#include <thimble/core/ops/conv_geometry.h>
#include <thimble/nn/inference/conv_step.h>
#include <thimble/nn/inference/fused_product.h>

namespace thimble::nn {

namespace {

class Conv2dStep : public InferenceStep {
 public:
  Conv2dStep(const TrimmedConv2d& conv, const Tensor& weight, const Tensor& bias, bool relu)
      : InferenceStep({{conv.g.batch, conv.g.out_channels, conv.g.out_height, conv.g.out_width}}),
        conv_(conv),
        winograd_(kernels::is_for_winograd(conv.g)),
        frames_(kernels::forward_frames(conv.g)),
        product_(weight.data(), bias.defined() ? bias.data() : NDArray(), relu) {}

  bool absorb(const Following& next, SharedWeights& weights) override { return product_.absorb(next, weights); }

  void prepare(SharedWeights& weights) override {
    const SharedWeights::Key taps{conv_.first.row, conv_.first.column, conv_.g.kernel_height, conv_.g.kernel_width,
                                  winograd_};
    weight_ = product_.packed<NDArray>(weights, taps, [&](const NDArray& w, const double* scale) {
      const NDArray weight = conv_.of(w);
      return winograd_ ? winograd_weight(weight, scale) : plain_weight(weight, scale);
    });
  }

  int64_t weight_bytes() const override { return weight_->nbytes(); }

  void run(std::span<const void* const> inputs, void* out, uint8_t*) const override {
    if (winograd_)
      return kernels::winograd_conv2d(conv_.g, static_cast<const float*>(inputs[0]), weight_->data<float>(),
                                      static_cast<float*>(out), product_.epilogue(inputs));
    kernels::conv2d(frames_, static_cast<const float*>(inputs[0]), weight_->data<float>(), static_cast<float*>(out),
                    product_.epilogue(inputs));
  }

 private:
  NDArray plain_weight(const NDArray& weight, const double* scale) const {
    NDArray packed = conv2d_forward_weight(weight, conv_.g);
    if (!scale) return packed;
    if (packed.shares_memory_with(weight)) packed = packed.clone();
    kernels::scale_conv2d_weight(conv_.g, scale, packed.data<float>());
    return packed;
  }

  NDArray winograd_weight(const NDArray& weight, const double* scale) const {
    NDArray packed({kernels::winograd_weight_elements(conv_.g)});
    kernels::pack_winograd_weight(conv_.g, weight.contiguous().data<float>(), scale, packed.data<float>());
    return packed;
  }

  TrimmedConv2d conv_;
  bool winograd_;
  kernels::ConvFrames frames_;
  FusedProduct product_;
  std::shared_ptr<const NDArray> weight_;
};

}  // namespace

std::unique_ptr<InferenceStep> conv2d_step(const Tensor& weight, const Tensor& bias, const Conv2dOptions& options,
                                           bool relu, std::span<const ValueInfo> inputs) {
  const ValueInfo& x = inputs[0];
  if (inputs.size() != 1 || !FusedProduct::takes(weight, bias) || x.dtype != DType::float32) return nullptr;
  const TrimmedConv2d trimmed(conv2d_geometry("conv2d", x.shape, weight.shape(), options));
  return std::make_unique<Conv2dStep>(trimmed, weight, bias, relu);
}

}  // namespace thimble::nn
