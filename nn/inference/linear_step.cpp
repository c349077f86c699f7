#include <thimble/core/kernels/gemm/packed_gemm.h>
#include <thimble/nn/inference/linear_step.h>

namespace thimble::nn {

namespace {

class LinearStep : public InferenceStep {
 public:
  LinearStep(ValueInfo output, const NDArray& weight, const NDArray& bias, bool relu)
      : InferenceStep(std::move(output)),
        weight_(weight.data<float>(), weight.shape(1), weight.shape(0), 1, weight.shape(1)),
        bias_(bias),
        relu_(relu) {}

  int64_t weight_bytes() const override { return weight_.nbytes(); }

  void run(std::span<const void* const> inputs, void* out, uint8_t*) const override {
    kernels::packed_gemm(static_cast<const float*>(inputs[0]), weight_.k(), output().shape.numel() / weight_.n(),
                         weight_, static_cast<float*>(out), weight_.n(),
                         kernels::bias_epilogue(bias_.defined() ? bias_.data<float>() : nullptr, relu_));
  }

 private:
  kernels::PackedMatrix weight_;
  NDArray bias_;
  bool relu_;
};

}  // namespace

NDArray weight_in_order(const NDArray& weight, const ValueInfo& input) {
  if (input.flattened_image.empty()) return weight.contiguous();
  const Shape& image = input.flattened_image;
  const NDArray ordered = weight.contiguous().reshape({weight.shape(0), image[0], image[1], image[2]});
  return ordered.permute({0, 2, 3, 1}).contiguous().reshape(weight.shape());
}

std::unique_ptr<InferenceStep> linear_step(const Tensor& weight, const Tensor& bias, bool relu,
                                           std::span<const ValueInfo> inputs) {
  const ValueInfo& x = inputs[0];
  if (inputs.size() != 1 || weight.dtype() != DType::float32 || x.dtype != DType::float32 || x.shape.ndim() < 1 ||
      x.is_image() || x.shape.back() != weight.shape(1))
    return nullptr;
  Shape shape = x.shape;
  shape.back() = weight.shape(0);
  return std::make_unique<LinearStep>(ValueInfo{shape}, weight_in_order(weight.data(), x),
                                      bias.defined() ? bias.data().contiguous() : NDArray(), relu);
}

}  // namespace thimble::nn
