#include <thimble/core/kernels/image/conv2d.h>
#include <thimble/core/ops/conv_geometry.h>
#include <thimble/nn/inference/conv_step.h>

namespace thimble::nn {

namespace {

class Conv2dStep : public InferenceStep {
 public:
  Conv2dStep(const kernels::Conv2dGeometry& g, const NDArray& weight, const NDArray& bias, bool relu)
      : InferenceStep({{g.batch, g.out_channels, g.out_height, g.out_width}}),
        frames_(kernels::forward_frames(g)),
        weight_(weight),
        bias_(bias),
        relu_(relu) {}

  int64_t weight_bytes() const override { return weight_.nbytes(); }

  void run(std::span<const void* const> inputs, void* out, uint8_t*) const override {
    kernels::conv2d(frames_, static_cast<const float*>(inputs[0]), weight_.data<float>(), static_cast<float*>(out),
                    kernels::bias_epilogue(bias_.defined() ? bias_.data<float>() : nullptr, relu_));
  }

 private:
  kernels::ConvFrames frames_;
  NDArray weight_, bias_;
  bool relu_;
};

}  // namespace

std::unique_ptr<InferenceStep> conv2d_step(const Tensor& weight, const Tensor& bias, const Conv2dOptions& options,
                                           bool relu, std::span<const ValueInfo> inputs) {
  const ValueInfo& x = inputs[0];
  if (inputs.size() != 1 || weight.dtype() != DType::float32 || x.dtype != DType::float32) return nullptr;
  const TrimmedConv2d trimmed(conv2d_geometry("conv2d", x.shape, weight.shape(), options));
  return std::make_unique<Conv2dStep>(trimmed.g, conv2d_forward_weight(trimmed.of(weight.data()), trimmed.g),
                                      bias.defined() ? bias.data().contiguous() : NDArray(), relu);
}

}  // namespace thimble::nn
