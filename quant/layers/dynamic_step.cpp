#include <algorithm>
#include <cmath>
#include <limits>

#include <thimble/core/parallel.h>
#include <thimble/quant/layers/dynamic_step.h>
#include <thimble/quant/layers/row_parameters.h>

namespace thimble::quant {

namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
// Elements that take a thread some microseconds; those of one row that are worth several threads.
constexpr int64_t kGrain = 32 * 1024, kLongRow = 256 * 1024;

int64_t aligned(int64_t bytes) { return (bytes + 63) / 64 * 64; }

// What both kinds of ranges have in common. In scratch lie the input as integers, the rows' scales and zero points, and
// then what a kind and the kernel need.
class DynamicStep : public nn::InferenceStep {
 public:
  DynamicStep(const nn::ValueInfo& x, std::unique_ptr<ProductKernel> kernel, int activation_bits, bool relu,
              DynamicConstants constants)
      : InferenceStep({kernel->output_shape(), DType::float32}),
        elements_(x.shape.numel()),
        kernel_(std::move(kernel)),
        spec_(QuantizationSpec::activation(activation_bits)),
        relu_(relu),
        constants_(std::move(constants)) {}

  int64_t weight_bytes() const override { return kernel_->weight_bytes(); }
  int64_t scratch_bytes() const override { return own_bytes() + kernel_->scratch_bytes(); }

 protected:
  int64_t rows() const { return kernel_->rows(); }
  int64_t elements() const { return elements_; }
  const ProductKernel& kernel() const { return *kernel_; }
  const DynamicConstants& constants() const { return constants_; }
  bool relu() const { return relu_; }
  const QuantizationSpec& spec() const { return spec_; }

  uint8_t* integers(uint8_t* scratch) const { return scratch; }
  float* scales(uint8_t* scratch) const { return reinterpret_cast<float*>(scratch + aligned(elements_)); }
  int32_t* zero_points(uint8_t* scratch) const {
    return reinterpret_cast<int32_t*>(scratch + aligned(elements_) + aligned(rows() * 4));
  }
  int64_t own_bytes() const { return aligned(elements_) + 2 * aligned(rows() * 4); }

  // With the bias as it is, whatever the scales are.
  void multiply(uint8_t* scratch, float* y) const {
    kernel_->run_rows(integers(scratch),
                      {.sums = kernel_->sums().data(),
                       .step = constants_.steps.data(),
                       .bias = constants_.bias.empty() ? nullptr : constants_.bias.data(),
                       .zero_point = zero_points(scratch),
                       .scale = scales(scratch),
                       .relu = relu_},
                      y, scratch + own_bytes());
  }

 private:
  int64_t elements_;
  std::unique_ptr<ProductKernel> kernel_;
  QuantizationSpec spec_;
  bool relu_;
  DynamicConstants constants_;
};

class RangePerRow final : public DynamicStep {
 public:
  using DynamicStep::DynamicStep;

  void run(std::span<const void* const> inputs, void* out, uint8_t* scratch) const override {
    const auto* x = static_cast<const float*>(inputs[0]);
    auto* y = static_cast<float*>(out);
    if (rows() == 0) return;
    quantize_rows(x, scratch);
    multiply(scratch, y);
    const int64_t results = output().shape.numel() / rows();
    for (int64_t row = 0; row < rows(); ++row)
      if (std::isnan(scales(scratch)[row])) std::fill_n(y + row * results, results, kNaN);
  }

 private:
  // Each while it is in cache. What a thread takes are rows, or, where these are long, parts of one.
  void quantize_rows(const float* x, uint8_t* scratch) const {
    const int64_t n = elements() / rows();
    const int64_t grain = n >= kLongRow ? rows() : std::max<int64_t>(1, kGrain / std::max<int64_t>(n, 1));
    parallel_for(rows(), grain, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const RowParameters p = quantize_row(x + row * n, n, spec(), integers(scratch) + row * n);
        scales(scratch)[row] = p.scale;
        zero_points(scratch)[row] = p.zero_point;
      }
    });
  }
};

class RangePerCall final : public DynamicStep {
 public:
  using DynamicStep::DynamicStep;

  bool is_per_sample() const override { return false; }
  int64_t scratch_bytes() const override { return DynamicStep::scratch_bytes() + 2 * constants_bytes(); }

  void run(std::span<const void* const> inputs, void* out, uint8_t* scratch) const override {
    const auto* x = static_cast<const float*>(inputs[0]);
    auto* y = static_cast<float*>(out);
    const RowParameters p = quantize_row(x, elements(), spec(), integers(scratch));
    if (std::isnan(p.scale)) {
      std::fill_n(y, output().shape.numel(), kNaN);
      return;
    }
    if (!p.all_zero && p.scale >= constants().finest_integer_bias) return multiply_with_integer_bias(p, scratch, y);
    std::fill_n(scales(scratch), rows(), p.scale);
    std::fill_n(zero_points(scratch), rows(), p.zero_point);
    multiply(scratch, y);
  }

 private:
  int64_t constants_bytes() const { return aligned(std::ssize(constants().steps) * 4); }

  // The arithmetic of files that were written before there were ranges per row, bit for bit.
  void multiply_with_integer_bias(const RowParameters& p, uint8_t* scratch, float* y) const {
    uint8_t* rest = scratch + own_bytes();
    auto* bias = reinterpret_cast<int32_t*>(rest);
    auto* multiplier = reinterpret_cast<float*>(rest + constants_bytes());
    const std::span<const int32_t> sums = kernel().sums();
    const std::vector<float>&steps = constants().steps, &own_bias = constants().bias;
    for (size_t i = 0; i < steps.size(); ++i) {
      multiplier[i] = p.scale * steps[i];
      const double own = i < own_bias.size() ? std::nearbyint(own_bias[i] / (double{p.scale} * double{steps[i]})) : 0;
      bias[i] = static_cast<int32_t>(own) - p.zero_point * sums[i];
    }
    kernel().run(integers(scratch), static_cast<uint8_t>(p.zero_point),
                 {.bias = bias, .multiplier = multiplier, .relu = relu()}, y, rest + 2 * constants_bytes());
  }
};

}  // namespace

std::unique_ptr<nn::InferenceStep> dynamic_step(const nn::ValueInfo& x, std::unique_ptr<ProductKernel> kernel,
                                                DynamicRange range, int activation_bits, bool relu,
                                                DynamicConstants constants) {
  if (range == DynamicRange::row)
    return std::make_unique<RangePerRow>(x, std::move(kernel), activation_bits, relu, std::move(constants));
  return std::make_unique<RangePerCall>(x, std::move(kernel), activation_bits, relu, std::move(constants));
}

}  // namespace thimble::quant
