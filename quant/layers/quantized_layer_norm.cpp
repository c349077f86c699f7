#include <cmath>
#include <vector>

#include <thimble/core/kernels/int8/quantized_layer_norm.h>
#include <thimble/quant/layers/quantized_layer_norm.h>
#include <thimble/quant/layers/row_step.h>

namespace thimble::quant {

namespace {

const nn::LayerRegistration quantized_layer_norm_registration{
    "QuantizedLayerNorm", [](const Attributes& a) {
      return std::make_shared<QuantizedLayerNorm>(
          Shape(a.get<std::vector<int64_t>>("normalized_shape")),
          QuantizedLayerNorm::Options{.eps = a.get<double>("eps"),
                                      .elementwise_affine = a.get<bool>("elementwise_affine")},
          TensorQParams::from_attributes(a, "input_"), TensorQParams::from_attributes(a, "output_"));
    }};

constexpr int64_t kMostElements = kernels::QuantizedLayerNormArgs::kMaxN;

// In steps of the output; `otherwise` for what is not there.
std::vector<float> over_scale(const Tensor& tensor, size_t count, double otherwise, float scale) {
  std::vector<double> values = tensor.defined() ? tensor.data().to_vector<double>() : std::vector(count, otherwise);
  std::vector<float> steps;
  for (const double value : values) steps.push_back(static_cast<float>(value / double{scale}));
  return steps;
}

class QuantizedLayerNormStep : public RowStep {
 public:
  QuantizedLayerNormStep(const nn::ValueInfo& x, int dims, const kernels::QuantizedLayerNormArgs& args,
                         std::vector<float> weight, std::vector<float> bias)
      : RowStep(x, x.shape.ndim() - dims, x.shape.ndim()),
        args_(args),
        weight_(std::move(weight)),
        bias_(std::move(bias)) {
    args_.weight = weight_.data();
    args_.bias = bias_.data();
  }

  int64_t weight_bytes() const override { return static_cast<int64_t>(2 * weight_.size() * sizeof(float)); }

 private:
  void run_rows(const uint8_t* x, int64_t rows, int64_t length, uint8_t* out) const override {
    kernels::quantized_layer_norm(x, rows, length, args_, out);
  }

  kernels::QuantizedLayerNormArgs args_;
  std::vector<float> weight_, bias_;
};

// Sizes may be a file's: their product is taken as long as it is small.
bool is_sound_shape(const Shape& normalized_shape) {
  int64_t elements = 1;
  for (const int64_t size : normalized_shape) {
    if (size < 0 || size > kMostElements) return false;
    elements *= size;
    if (elements > kMostElements) return false;
  }
  return !normalized_shape.empty();
}

bool is_sound_eps(double eps) { return std::isfinite(eps) && eps > 0; }

Shape normalized_shape_of(const nn::LayerNorm& layer) {
  return Shape(layer.attributes().get<std::vector<int64_t>>("normalized_shape"));
}

double eps_of(const nn::LayerNorm& layer) { return layer.attributes().get<double>("eps"); }

}  // namespace

QuantizedLayerNorm::QuantizedLayerNorm(const Shape& normalized_shape, const Options& options,
                                       const TensorQParams& input, const TensorQParams& output)
    : normalized_shape_(normalized_shape), options_(options), input_(input), output_(output) {
  check<ValueError>(is_sound_shape(normalized_shape), "QuantizedLayerNorm: normalized_shape ", normalized_shape,
                    " does not have dimensions and at most ", kMostElements, " elements");
  check<ValueError>(is_sound_eps(options.eps), "QuantizedLayerNorm: eps ", options.eps, " is not positive and finite");
  input.check("QuantizedLayerNorm: input");
  output.check("QuantizedLayerNorm: output");
  if (!options.elementwise_affine) return;
  weight_ = register_buffer("weight", NDArray::placeholder(normalized_shape));
  bias_ = register_buffer("bias", NDArray::placeholder(normalized_shape));
}

bool QuantizedLayerNorm::can_be_made_of(const nn::LayerNorm& layer) {
  return is_sound_shape(normalized_shape_of(layer)) && is_sound_eps(eps_of(layer));
}

std::shared_ptr<QuantizedLayerNorm> QuantizedLayerNorm::from_float(const nn::LayerNorm& layer,
                                                                   const TensorQParams& input,
                                                                   const TensorQParams& output) {
  const Options options{.eps = eps_of(layer), .elementwise_affine = layer.weight.defined()};
  auto made = std::make_shared<QuantizedLayerNorm>(normalized_shape_of(layer), options, input, output);
  if (layer.weight.defined())
    made->load_state(
        {{"weight", layer.weight.data().to(DType::float32)}, {"bias", layer.bias.data().to(DType::float32)}});
  return made;
}

void QuantizedLayerNorm::check_inputs(std::span<const nn::ValueInfo> inputs) const {
  check_one_uint8(inputs);
  const Shape& x = inputs[0].shape;
  const int first = x.ndim() - normalized_shape_.ndim();
  bool fits = first >= 0;
  for (int d = 0; d < normalized_shape_.ndim() && fits; ++d) fits = x[first + d] == normalized_shape_[d];
  check<ShapeError>(fits, "QuantizedLayerNorm: expects the last dimensions to be ", normalized_shape_, ", got ", x);
}

std::unique_ptr<nn::InferenceStep> QuantizedLayerNorm::inference_step(std::span<const nn::ValueInfo> inputs) const {
  check_inputs(inputs);
  if (!inputs[0].flattened_image.empty()) return nullptr;
  const auto count = static_cast<size_t>(normalized_shape_.numel());
  const kernels::QuantizedLayerNormArgs args{
      .scale = input_.scale, .eps = options_.eps, .zero_point = output_.zero_point, .high = output_.qmax()};
  return std::make_unique<QuantizedLayerNormStep>(inputs[0], normalized_shape_.ndim(), args,
                                                  over_scale(weight_, count, 1, output_.scale),
                                                  over_scale(bias_, count, 0, output_.scale));
}

Attributes QuantizedLayerNorm::attributes() const {
  Attributes a{{"normalized_shape", normalized_shape_.to_vector()},
               {"eps", options_.eps},
               {"elementwise_affine", options_.elementwise_affine}};
  input_.to_attributes(a, "input_");
  output_.to_attributes(a, "output_");
  return a;
}

}  // namespace thimble::quant
