#include <thimble/core/kernels/image/expand_pixels.h>
#include <thimble/nn/inference/conv_transpose_step.h>
#include <thimble/nn/inference/fused_product.h>

namespace thimble::nn {

namespace {

class ConvTranspose2dStep : public InferenceStep {
 public:
  ConvTranspose2dStep(const kernels::PixelExpansion& g, const Tensor& weight, const Tensor& bias)
      : InferenceStep({{g.batch, g.out, g.height * g.patch_height, g.width * g.patch_width}}),
        g_(g),
        product_(weight.data().transpose(0, 1), bias.defined() ? bias.data() : NDArray(), false) {}

  bool absorb(const Following& next, SharedWeights& weights) override { return product_.absorb(next, weights); }

  void prepare(SharedWeights& weights) override {
    taps_ = product_.packed<Taps>(weights, {}, [&](const NDArray& weight, const double* scale) {
      const Shape& s = weight.strides();  // [out, in, patch_height, patch_width]
      Taps taps;
      for (int64_t row = 0; row < g_.patch_height; ++row)
        for (int64_t column = 0; column < g_.patch_width; ++column)
          taps.emplace_back(weight.data<float>() + row * s[2] + column * s[3], g_.in, g_.out, s[1], s[0], scale);
      return taps;
    });
  }

  int64_t weight_bytes() const override {
    int64_t bytes = 0;
    for (const kernels::PackedMatrix& tap : *taps_) bytes += tap.nbytes();
    return bytes;
  }

  void run(std::span<const void* const> inputs, void* out, uint8_t*) const override {
    kernels::expand_pixels(g_, static_cast<const float*>(inputs[0]), *taps_, static_cast<float*>(out),
                           product_.epilogue(inputs));
  }

 private:
  using Taps = std::vector<kernels::PackedMatrix>;

  kernels::PixelExpansion g_;
  FusedProduct product_;
  std::shared_ptr<const Taps> taps_;
};

}  // namespace

std::unique_ptr<InferenceStep> conv_transpose2d_step(const Tensor& weight, const Tensor& bias,
                                                     const Conv2dOptions& options, Pair output_padding,
                                                     std::span<const ValueInfo> inputs) {
  const ValueInfo& x = inputs[0];
  const Pair kernel{weight.shape(2), weight.shape(3)}, none = 0;
  const bool fits = options.stride == kernel && options.padding == Padding(0) && options.dilation == Pair(1) &&
                    options.groups == 1 && output_padding == none;
  if (!fits || inputs.size() != 1 || !FusedProduct::takes(weight, bias) || x.dtype != DType::float32 || !x.is_image() ||
      x.shape.numel() == 0 || x.shape[1] != weight.shape(0))
    return nullptr;
  return std::make_unique<ConvTranspose2dStep>(kernels::PixelExpansion{x.shape[0], x.shape[2], x.shape[3], x.shape[1],
                                                                       weight.shape(1), kernel.height, kernel.width},
                                               weight, bias);
}

}  // namespace thimble::nn
