#include <cmath>
#include <utility>
#include <vector>

#include <thimble/core/kernels/int8/quantized_group_norm.h>
#include <thimble/quant/layers/quantized_group_norm.h>

namespace thimble::quant {

namespace {

const nn::LayerRegistration quantized_group_norm_registration{
    "QuantizedGroupNorm", [](const Attributes& a) {
      return std::make_shared<QuantizedGroupNorm>(
          a.get<int64_t>("num_groups"), a.get<int64_t>("num_channels"),
          QuantizedGroupNorm::Options{.eps = a.get<double>("eps"), .affine = a.get<bool>("affine")},
          TensorQParams::from_attributes(a, "input_"), TensorQParams::from_attributes(a, "output_"));
    }};

std::vector<double> in_steps(const Tensor& tensor, int64_t channels, double otherwise, float scale) {
  std::vector<double> values = tensor.defined() ? tensor.data().to_vector<double>()
                                                : std::vector<double>(static_cast<size_t>(channels), otherwise);
  for (double& value : values) value /= double{scale};
  return values;
}

// Images lie pixel by pixel; of everything else that is a copy.
class GroupNormStep : public nn::InferenceStep {
 public:
  GroupNormStep(const nn::ValueInfo& x, const kernels::QuantizedGroupNormArgs& args, std::vector<double> weight,
                std::vector<double> bias)
      : InferenceStep(x), args_(args), weight_(std::move(weight)), bias_(std::move(bias)) {
    args_.weight = weight_.data();
    args_.bias = bias_.data();
    order_.push_back(0);
    for (int d = 2; d < x.shape.ndim(); ++d) order_.push_back(d);
    order_.push_back(1);
  }

  int64_t scratch_bytes() const override { return output().is_image() ? 0 : 2 * output().nbytes(); }
  int64_t weight_bytes() const override { return static_cast<int64_t>(2 * weight_.size() * sizeof(double)); }

  void run(std::span<const void* const> inputs, void* out, uint8_t* scratch) const override {
    const Shape& s = output().shape;
    const int64_t pixels = s.numel() / (s[0] * s[1]);
    if (output().is_image())
      return kernels::quantized_group_norm(static_cast<const uint8_t*>(inputs[0]), s[0], pixels, s[1], args_,
                                           static_cast<uint8_t*>(out));
    const NDArray x = nn::array_over(inputs[0], output()).permute(order_);
    uint8_t* results = scratch + output().nbytes();
    NDArray::borrow(scratch, x.shape(), DType::uint8, nullptr).copy_from(x);
    kernels::quantized_group_norm(scratch, s[0], pixels, s[1], args_, results);
    nn::array_over(out, output()).permute(order_).copy_from(NDArray::borrow(results, x.shape(), DType::uint8, nullptr));
  }

 private:
  kernels::QuantizedGroupNormArgs args_;
  std::vector<double> weight_, bias_;
  Shape order_;  // of dimensions, channels last
};

}  // namespace

QuantizedGroupNorm::QuantizedGroupNorm(int64_t num_groups, int64_t num_channels, const Options& options,
                                       const TensorQParams& input, const TensorQParams& output)
    : num_groups_(num_groups), num_channels_(num_channels), options_(options), input_(input), output_(output) {
  check<ValueError>(num_groups > 0 && num_channels > 0 && num_channels % num_groups == 0,
                    "QuantizedGroupNorm: ", num_channels, " channels are no multiple of ", num_groups,
                    " groups, both above 0");
  check<ValueError>(std::isfinite(options.eps) && options.eps > 0, "QuantizedGroupNorm: eps ", options.eps,
                    " is not positive and finite");
  input.check("QuantizedGroupNorm: input");
  output.check("QuantizedGroupNorm: output");
  if (!options.affine) return;
  weight_ = register_buffer("weight", NDArray::placeholder({num_channels}));
  bias_ = register_buffer("bias", NDArray::placeholder({num_channels}));
}

std::shared_ptr<QuantizedGroupNorm> QuantizedGroupNorm::from_float(const nn::GroupNorm& layer,
                                                                   const TensorQParams& input,
                                                                   const TensorQParams& output) {
  const Attributes a = layer.attributes();
  const Options options{.eps = a.get<double>("eps"), .affine = layer.weight.defined()};
  auto made = std::make_shared<QuantizedGroupNorm>(a.get<int64_t>("num_groups"), a.get<int64_t>("num_channels"),
                                                   options, input, output);
  if (layer.weight.defined())
    made->load_state(
        {{"weight", layer.weight.data().to(DType::float32)}, {"bias", layer.bias.data().to(DType::float32)}});
  return made;
}

void QuantizedGroupNorm::check_inputs(std::span<const nn::ValueInfo> inputs) const {
  check_one_uint8(inputs);
  const Shape& x = inputs[0].shape;
  check<ShapeError>(x.ndim() >= 2 && x[1] == num_channels_, "QuantizedGroupNorm: expects [n, ", num_channels_,
                    ", ...], got ", x);
  check<ShapeError>(x.numel() > 0, "QuantizedGroupNorm: there is nothing to normalize in ", x);
}

std::unique_ptr<nn::InferenceStep> QuantizedGroupNorm::inference_step(std::span<const nn::ValueInfo> inputs) const {
  check_inputs(inputs);
  if (!inputs[0].flattened_image.empty()) return nullptr;
  const kernels::QuantizedGroupNormArgs args{.scale = input_.scale,
                                             .eps = options_.eps,
                                             .groups = num_groups_,
                                             .zero_point = output_.zero_point,
                                             .high = output_.qmax()};
  return std::make_unique<GroupNormStep>(nn::ValueInfo{inputs[0].shape, DType::uint8}, args,
                                         in_steps(weight_, num_channels_, 1, output_.scale),
                                         in_steps(bias_, num_channels_, 0, output_.scale));
}

Attributes QuantizedGroupNorm::attributes() const {
  Attributes a{
      {"num_groups", num_groups_}, {"num_channels", num_channels_}, {"eps", options_.eps}, {"affine", options_.affine}};
  input_.to_attributes(a, "input_");
  output_.to_attributes(a, "output_");
  return a;
}

}  // namespace thimble::quant
