#include <algorithm>
#include <vector>

#include <thimble/core/kernels/int8/quantized_mean.h>
#include <thimble/quant/layers/quantized_mean.h>

namespace thimble::quant {

namespace {

const nn::LayerRegistration quantized_mean_registration{
    "QuantizedMean", [](const Attributes& a) {
      return std::make_shared<QuantizedMean>(Shape(a.get<std::vector<int64_t>>("axes")), a.get<bool>("keepdim"),
                                             TensorQParams::from_attributes(a, "input_"),
                                             TensorQParams::from_attributes(a, "output_"));
    }};

bool has(const Shape& axes, int64_t d) { return std::ranges::count(axes, d) > 0; }

int64_t elements_of_mean(const Shape& x, const Shape& axes) {
  int64_t count = 1;
  for (const int64_t d : axes) count *= x[static_cast<int>(d)];
  return count;
}

Shape shape_of_means(const Shape& x, const Shape& axes, bool keepdim) {
  Shape shape;
  for (int d = 0; d < x.ndim(); ++d)
    if (!has(axes, d))
      shape.push_back(x[d]);
    else if (keepdim)
      shape.push_back(1);
  return shape;
}

// The elements as [outer, n, inner], of which n are averaged: where they lie, or in a copy whose averaged dimensions
// are the last.
class MeanStep : public nn::InferenceStep {
 public:
  MeanStep(const nn::ValueInfo& x, const Shape& axes, bool keepdim, const kernels::QuantizedMeanArgs& args)
      : InferenceStep({shape_of_means(x.shape, axes, keepdim), DType::uint8}),
        input_(x),
        samples_(!has(axes, 0)),
        n_(elements_of_mean(x.shape, axes)),
        args_(args) {
    for (int d = 0; d < x.shape.ndim(); ++d)
      if (!has(axes, d)) order_.push_back(d);
    const bool follow_each_other = axes.empty() || axes.back() - axes[0] + 1 == axes.ndim();
    const bool is_of_image = x.is_image() && axes.ndim() == 2 && axes[0] == 2;  // which lies channels-last
    in_place_ = is_of_image || (!x.is_image() && !output().is_image() && follow_each_other);
    if (is_of_image)
      inner_ = x.shape[1];
    else if (in_place_ && !axes.empty())
      for (int d = static_cast<int>(axes.back()) + 1; d < x.shape.ndim(); ++d) inner_ *= x.shape[d];
    for (const int64_t d : axes) order_.push_back(d);
  }

  bool is_per_sample() const override { return samples_; }
  int64_t scratch_bytes() const override { return in_place_ ? 0 : input_.nbytes() + output().nbytes(); }

  void run(std::span<const void* const> inputs, void* out, uint8_t* scratch) const override {
    const int64_t count = output().shape.numel();
    if (in_place_) {
      const auto* x = static_cast<const uint8_t*>(inputs[0]);
      kernels::quantized_mean(x, inner_ == 0 ? 0 : count / inner_, n_, inner_, args_, static_cast<uint8_t*>(out));
      return;
    }
    uint8_t* means = scratch + input_.nbytes();
    const NDArray x = nn::array_over(inputs[0], input_).permute(order_);
    NDArray::borrow(scratch, x.shape(), DType::uint8, nullptr).copy_from(x);
    kernels::quantized_mean(scratch, count, n_, 1, args_, means);
    nn::array_over(out, output()).copy_from(NDArray::borrow(means, output().shape, DType::uint8, nullptr));
  }

 private:
  nn::ValueInfo input_;
  bool samples_, in_place_;
  int64_t n_, inner_ = 1;
  Shape order_;  // of dimensions, those that are averaged last
  kernels::QuantizedMeanArgs args_;
};

}  // namespace

QuantizedMean::QuantizedMean(const Shape& axes, bool keepdim, const TensorQParams& input, const TensorQParams& output)
    : axes_(axes), keepdim_(keepdim), input_(input), output_(output) {
  input.check("QuantizedMean: input");
  output.check("QuantizedMean: output");
}

void QuantizedMean::check_inputs(std::span<const nn::ValueInfo> inputs) const {
  check_one_uint8(inputs);
  const Shape& x = inputs[0].shape;
  const int64_t count = elements_of_mean(x, normalize_axes(axes_, x.ndim(), "QuantizedMean"));
  check<ShapeError>(count >= 1, "QuantizedMean: expects means of at least one element, got ", x);
}

std::unique_ptr<nn::InferenceStep> QuantizedMean::inference_step(std::span<const nn::ValueInfo> inputs) const {
  check_inputs(inputs);
  if (!inputs[0].flattened_image.empty()) return nullptr;
  const kernels::QuantizedMeanArgs args{.scale = input_.scale,
                                        .x_zero_point = input_.zero_point,
                                        .output_scale = output_.scale,
                                        .zero_point = output_.zero_point,
                                        .high = output_.qmax()};
  return std::make_unique<MeanStep>(inputs[0], normalize_axes(axes_, inputs[0].shape.ndim(), "QuantizedMean"), keepdim_,
                                    args);
}

Attributes QuantizedMean::attributes() const {
  Attributes a{{"axes", axes_.to_vector()}, {"keepdim", keepdim_}};
  input_.to_attributes(a, "input_");
  output_.to_attributes(a, "output_");
  return a;
}

}  // namespace thimble::quant
