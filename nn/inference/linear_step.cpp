#include <thimble/core/kernels/gemm/packed_gemm.h>
#include <thimble/nn/inference/fused_product.h>
#include <thimble/nn/inference/linear_step.h>

namespace thimble::nn {

namespace {

class LinearStep : public InferenceStep {
 public:
  LinearStep(const ValueInfo& x, const Tensor& weight, const Tensor& bias, bool relu)
      : InferenceStep({with_features(x.shape, weight.shape(0))}),
        x_(x),
        product_(weight.data(), bias.defined() ? bias.data() : NDArray(), relu) {}

  bool absorb(const Following& next, SharedWeights& weights) override {
    const bool scales_features = !next.scale || output().shape.ndim() == 2;
    return scales_features && product_.absorb(next, weights);
  }

  void prepare(SharedWeights& weights) override {
    const Shape& order = x_.flattened_image;
    weight_ = product_.packed<kernels::PackedMatrix>(
        weights, {order.begin(), order.end()}, [&](const NDArray& w, const double* scale) {
          const NDArray weight = weight_in_order(w, x_);
          return kernels::PackedMatrix(weight.data<float>(), weight.shape(1), weight.shape(0), 1, weight.shape(1),
                                       scale);
        });
  }

  int64_t weight_bytes() const override { return weight_->nbytes(); }

  void run(std::span<const void* const> inputs, void* out, uint8_t*) const override {
    kernels::packed_gemm(static_cast<const float*>(inputs[0]), weight_->k(), output().shape.numel() / weight_->n(),
                         *weight_, static_cast<float*>(out), weight_->n(), product_.epilogue(inputs));
  }

 private:
  static Shape with_features(Shape shape, int64_t features) {
    shape.back() = features;
    return shape;
  }

  ValueInfo x_;
  FusedProduct product_;
  std::shared_ptr<const kernels::PackedMatrix> weight_;
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
  if (inputs.size() != 1 || !FusedProduct::takes(weight, bias) || x.dtype != DType::float32 || x.shape.ndim() < 1 ||
      x.is_image() || x.shape.back() != weight.shape(1))
    return nullptr;
  return std::make_unique<LinearStep>(x, weight, bias, relu);
}

}  // namespace thimble::nn
