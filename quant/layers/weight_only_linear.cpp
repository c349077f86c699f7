#include <algorithm>
#include <cmath>
#include <vector>

#include <thimble/core/kernels/weight_only/bit_packing.h>
#include <thimble/core/kernels/weight_only/weight_only_gemm.h>
#include <thimble/quant/layers/packed_rows.h>
#include <thimble/quant/layers/weight_only_linear.h>

namespace thimble::quant {

namespace {

std::shared_ptr<nn::Module> weight_only_linear_from(const Attributes& a) {
  const auto bits = a.get<int64_t>("bits");
  check_bits(bits, "WeightOnlyLinear");
  return std::make_shared<WeightOnlyLinear>(
      WeightOnlyLinear::Config{.in_features = a.get<int64_t>("in_features"),
                               .out_features = a.get<int64_t>("out_features"),
                               .bits = static_cast<int>(bits),
                               .scheme = qscheme_from_name(a.get<std::string>("scheme")),
                               .group_size = a.get<int64_t>("group_size"),
                               .relu = a.get<bool>("relu"),
                               .bias = a.get<bool>("bias")});
}

const nn::LayerRegistration weight_only_linear_registration{"WeightOnlyLinear", weight_only_linear_from};

class LinearStep : public nn::InferenceStep {
 public:
  LinearStep(nn::ValueInfo output, std::shared_ptr<const kernels::WeightOnlyMatrix> weights, NDArray bias, bool relu)
      : InferenceStep(std::move(output)), weights_(std::move(weights)), bias_(std::move(bias)), relu_(relu) {}

  int64_t weight_bytes() const override { return weights_->nbytes(); }

  void run(std::span<const void* const> inputs, void* out, uint8_t*) const override {
    const int64_t n = weights_->n(), rows = output().shape.numel() / n;
    const NDArray& bias = bias_;
    kernels::weight_only_gemm(static_cast<const float*>(inputs[0]), weights_->k(), rows, *weights_,
                              {.bias = bias.defined() ? bias.data<float>() : nullptr, .relu = relu_},
                              static_cast<float*>(out), n);
  }

 private:
  std::shared_ptr<const kernels::WeightOnlyMatrix> weights_;
  NDArray bias_;
  bool relu_;
};

Shape parameter_shape(const WeightOnlyLinear::Config& c) {
  return c.group_size ? Shape{c.out_features, group_count(c.in_features, c.group_size)} : Shape{c.out_features};
}

}  // namespace

WeightOnlyLinear::WeightOnlyLinear(const Config& c) : config_(c) {
  const auto in_range = [](int64_t d) { return d >= 1 && d <= INT32_MAX; };
  check<ValueError>(in_range(c.in_features) && in_range(c.out_features), type(), ": in_features ", c.in_features,
                    " and out_features ", c.out_features, " must be between 1 and ", INT32_MAX);
  check_bits(c.bits, type());
  check<ValueError>(c.group_size >= 0, type(), ": groups of ", c.group_size, " input features");
  const Shape rows{c.out_features, kernels::packed_bytes(c.in_features, c.bits)};
  weight_ = register_buffer("weight", NDArray::placeholder(rows, DType::uint8));  // throws if its size overflows
  scale_ = register_buffer("weight_scale", NDArray::placeholder(parameter_shape(c)));
  if (c.scheme == QScheme::affine)
    zero_point_ = register_buffer("weight_zero_point", NDArray::placeholder(parameter_shape(c), DType::uint8));
  if (c.bias) bias_ = register_buffer("bias", NDArray::placeholder({c.out_features}));
}

std::shared_ptr<WeightOnlyLinear> WeightOnlyLinear::from_float(const nn::Linear& linear,
                                                               const QuantizationSpec& weight_spec, bool relu,
                                                               const std::string& weight_observer) {
  check<ValueError>(weight_spec.axis == 0,
                    "WeightOnlyLinear: weights must be quantized per output channel or group (axis 0)");
  const Config config{.in_features = linear.in_features(),
                      .out_features = linear.out_features(),
                      .bits = weight_spec.bits,
                      .scheme = weight_spec.scheme,
                      .group_size = weight_spec.group_size,
                      .relu = relu,
                      .bias = linear.bias.defined()};
  auto layer = std::make_shared<WeightOnlyLinear>(config);
  const NDArray& weight = linear.weight.data();
  QuantizationSpec spec = weight_spec;
  // Unsigned integers of a reduced range have their middle elsewhere than at 2^(bits - 1), where the layer has it.
  if (spec.scheme == QScheme::symmetric) spec.is_signed = true;
  const QParams p = WeightQuantization{spec, weight_observer}.qparams(weight);
  NamedArrays state{{"weight", pack_rows(quantize(weight, p), config.bits)},
                    {"weight_scale", NDArray::from_vector(p.scale, parameter_shape(config))}};
  if (config.scheme == QScheme::affine) {
    std::vector<uint8_t> zero_points;
    for (const int32_t z : p.zero_point)
      zero_points.push_back(static_cast<uint8_t>(z + (spec.is_signed ? 1 << (config.bits - 1) : 0)));
    state.emplace_back("weight_zero_point", NDArray::from_vector(zero_points, parameter_shape(config)));
  }
  if (config.bias) state.emplace_back("bias", linear.bias.data().clone());
  layer->load_state(state);
  return layer;
}

void WeightOnlyLinear::state_changed() {
  IntegerLayer::state_changed();
  {
    const std::lock_guard lock(matrix_mutex_);
    matrix_ = nullptr;
  }
  for (const float scale : scale_.data().to_vector<float>())
    check<ValueError>(std::isfinite(scale) && scale > 0, type(), ": weight scale ", scale,
                      " is not positive and finite");
  if (zero_point_.defined())
    for (const int32_t z : zero_point_.data().to_vector<int32_t>())
      check<ValueError>(z < 1 << config_.bits, type(), ": weight zero point ", z, " is not in [0, ",
                        (1 << config_.bits) - 1, "]");
  if (const auto used = static_cast<int>(config_.in_features * config_.bits % 8)) {
    const NDArray last = weight_.data().slice(1, -1, weight_.shape(1));
    for (const int32_t byte : last.to_vector<int32_t>())
      check<ValueError>(byte >> used == 0, type(), ": a row of weights ends with byte ", byte, ", of which only ", used,
                        " bits are weights; the others must be 0");
  }
  loaded_ = true;
}

WeightOnlyLinear::Matrix WeightOnlyLinear::matrix() const {
  check<ValueError>(loaded_, type(), ": it has no weights yet");
  const std::lock_guard lock(matrix_mutex_);
  if (!matrix_) {
    const NDArray weight = weight_.data().contiguous(), scale = scale_.data().contiguous();
    const NDArray zero_point = zero_point_.defined() ? zero_point_.data().contiguous() : NDArray();
    const kernels::WeightOnlyMatrix::Layout layout{
        .n = config_.out_features,
        .k = config_.in_features,
        .bits = config_.bits,
        .group_size = config_.group_size ? config_.group_size : config_.in_features};
    matrix_ = std::make_shared<kernels::WeightOnlyMatrix>(layout, weight.data<uint8_t>(), scale.data<float>(),
                                                          zero_point.defined() ? zero_point.data<uint8_t>() : nullptr);
  }
  return matrix_;
}

void WeightOnlyLinear::check_inputs(std::span<const nn::ValueInfo> inputs) const {
  check<ValueError>(inputs.size() == 1, type(), ": takes one input, got ", inputs.size());
  check<DTypeError>(inputs[0].dtype == DType::float32, type(), ": expects float32 input, got ", inputs[0].dtype);
  const Shape& x = inputs[0].shape;
  check<ShapeError>(x.ndim() >= 1 && x.back() == config_.in_features, type(), ": expects ", config_.in_features,
                    " features, got ", x, " input");
}

std::unique_ptr<nn::InferenceStep> WeightOnlyLinear::inference_step(std::span<const nn::ValueInfo> inputs) const {
  check_inputs(inputs);
  const nn::ValueInfo& x = inputs[0];
  // Rows of an image do not lie in its order. Reordering the weights for a flattened image would tear the groups apart,
  // and blocks of activations too: it is the features that must come in their order.
  if (x.is_image() || !x.flattened_image.empty()) return nullptr;
  Shape shape = x.shape;
  shape.back() = config_.out_features;
  return std::make_unique<LinearStep>(nn::ValueInfo{shape}, matrix(),
                                      bias_.defined() ? bias_.data().contiguous() : NDArray(), config_.relu);
}

NDArray WeightOnlyLinear::unpacked() const {
  const NDArray integers = unpack_rows(weight_.data(), config_.in_features, config_.bits);
  if (config_.scheme == QScheme::affine) return integers;
  NDArray centered(integers.shape(), DType::int8);
  std::transform(integers.data<uint8_t>(), integers.data<uint8_t>() + integers.numel(), centered.data<int8_t>(),
                 [zero_point = 1 << (config_.bits - 1)](uint8_t u) { return static_cast<int8_t>(u - zero_point); });
  return centered;
}

NDArray WeightOnlyLinear::dequantized_weight() const {
  const NDArray integers = unpack_rows(weight_.data(), config_.in_features, config_.bits);
  QParams p{{.bits = config_.bits, .axis = 0, .group_size = config_.group_size}, scale_.data().to_vector<float>(), {}};
  p.zero_point = zero_point_.defined() ? zero_point_.data().to_vector<int32_t>()
                                       : std::vector<int32_t>(p.scale.size(), 1 << (config_.bits - 1));
  return dequantize(integers, p);
}

Attributes WeightOnlyLinear::attributes() const {
  return {{"in_features", config_.in_features},
          {"out_features", config_.out_features},
          {"bits", int64_t{config_.bits}},
          {"scheme", std::string(quant::name(config_.scheme))},
          {"group_size", config_.group_size},
          {"relu", config_.relu},
          {"bias", config_.bias}};
}

}  // namespace thimble::quant
