#include <algorithm>
#include <cmath>

#include <thimble/core/parallel.h>
#include <thimble/quant/layers/quantized_pool.h>

namespace thimble::quant {

namespace {

constexpr int64_t kMostPixels = int64_t{1} << 24;  // whose sum fits uint32

const nn::LayerRegistration quantized_pool_registration{"QuantizedGlobalAvgPool2d", [](const Attributes& a) {
                                                          return std::make_shared<QuantizedGlobalAvgPool2d>(
                                                              TensorQParams::from_attributes(a, "input_"),
                                                              TensorQParams::from_attributes(a, "output_"));
                                                        }};

class GlobalAvgPoolStep : public nn::InferenceStep {
 public:
  GlobalAvgPoolStep(const Shape& x, const TensorQParams& from, const TensorQParams& to)
      : InferenceStep({{x[0], x[1], 1, 1}, DType::uint8}), pixels_(x[2] * x[3]), from_(from), to_(to) {}

  int64_t scratch_bytes() const override { return output().shape.numel() * static_cast<int64_t>(sizeof(uint32_t)); }

  // Pixels lie one after the other, each with all its channels.
  void run(std::span<const void* const> inputs, void* out, uint8_t* scratch) const override {
    const int64_t channels = output().shape[1];
    const auto* x = static_cast<const uint8_t*>(inputs[0]);
    parallel_for(output().shape[0], 1, [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n) {
        uint32_t* sums = reinterpret_cast<uint32_t*>(scratch) + n * channels;
        std::fill_n(sums, channels, 0u);
        for (int64_t i = 0; i < pixels_; ++i) add(x + (n * pixels_ + i) * channels, channels, sums);
        requantize(sums, channels, static_cast<uint8_t*>(out) + n * channels);
      }
    });
  }

 private:
  static void add(const uint8_t* __restrict pixel, int64_t channels, uint32_t* __restrict sums) {
    for (int64_t c = 0; c < channels; ++c) sums[c] += pixel[c];
  }

  void requantize(const uint32_t* sums, int64_t channels, uint8_t* out) const {
    const auto scale = static_cast<float>(double{from_.scale} / (double{to_.scale} * static_cast<double>(pixels_)));
    const auto low = static_cast<float>(-to_.zero_point), high = static_cast<float>(to_.qmax() - to_.zero_point);
    for (int64_t c = 0; c < channels; ++c) {
      const float v = static_cast<float>(static_cast<int64_t>(sums[c]) - pixels_ * from_.zero_point) * scale;
      const float kept = v > low ? std::min(v, high) : low;  // low for NaN, too, which scales far apart may give
      out[c] = static_cast<uint8_t>(static_cast<int32_t>(std::nearbyint(kept)) + to_.zero_point);
    }
  }

  int64_t pixels_;
  TensorQParams from_, to_;
};

}  // namespace

QuantizedGlobalAvgPool2d::QuantizedGlobalAvgPool2d(const TensorQParams& input, const TensorQParams& output)
    : input_(input), output_(output) {
  input.check("QuantizedGlobalAvgPool2d: input");
  output.check("QuantizedGlobalAvgPool2d: output");
}

void QuantizedGlobalAvgPool2d::check_inputs(std::span<const nn::ValueInfo> inputs) const {
  check_one_uint8(inputs);
  const Shape& x = inputs[0].shape;
  check<ShapeError>(x.ndim() == 4 && x[2] * x[3] >= 1 && x[2] * x[3] <= kMostPixels, type(),
                    ": expects images [n, c, h, w] of 1 to ", kMostPixels, " pixels, got ", x);
}

std::unique_ptr<nn::InferenceStep> QuantizedGlobalAvgPool2d::inference_step(
    std::span<const nn::ValueInfo> inputs) const {
  check_inputs(inputs);
  return std::make_unique<GlobalAvgPoolStep>(inputs[0].shape, input_, output_);
}

Attributes QuantizedGlobalAvgPool2d::attributes() const {
  Attributes a;
  input_.to_attributes(a, "input_");
  output_.to_attributes(a, "output_");
  return a;
}

}  // namespace thimble::quant
