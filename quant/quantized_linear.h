// The integer linear layer, and the layers at the edges between float and integer values.
#pragma once

#include <memory>
#include <optional>

#include <thimble/core/kernels/int8_gemm.h>
#include <thimble/nn/linear.h>
#include <thimble/quant/qparams.h>

namespace thimble::quant {

/// The parameters of a tensor quantized as a whole.
struct TensorQParams {
  float scale = 1;
  int32_t zero_point = 0;
  int bits = 8;

  /// Throws ValueError for per-channel parameters or signed ones.
  static TensorQParams from(const QParams& qparams);
};

/// y = x W^T + b, optionally with a ReLU, in integer arithmetic: x uint8 [..., in] (affine), W int8 [out, in]
/// (symmetric per output channel), sums and bias int32 at scale_x * scale_w, one float multiplication an output to
/// requantize. y is uint8, or float32 if no output parameters are given. Bit-identical on every instruction set and
/// thread count.
class QuantizedLinear : public nn::Module {
 public:
  struct Config {
    int64_t in_features = 0, out_features = 0;
    TensorQParams input = {};
    std::optional<TensorQParams> output = std::nullopt;
    int weight_bits = 8;
    bool relu = false;
  };

  /// Tensors are to come by load_state(). Throws ValueError for sizes that do not fit, or scales that are not positive
  /// and finite.
  explicit QuantizedLinear(const Config& config);

  /// Quantizes a float layer's weights and bias.
  static std::shared_ptr<QuantizedLinear> from_float(const nn::Linear& linear, const QuantizationSpec& weight_spec,
                                                     const TensorQParams& input,
                                                     const std::optional<TensorQParams>& output, bool relu);

  Tensor forward(const Tensor& x) override;
  std::string type() const override { return "QuantizedLinear"; }
  Attributes attributes() const override;
  const Config& config() const { return config_; }

 private:
  void state_changed() override;

  Config config_;
  Tensor weight_;        // int8 [out, in]
  Tensor weight_scale_;  // float32 [out]
  Tensor bias_;          // int32 [out]
  // Derived from the above: what the kernel reads.
  std::optional<kernels::PackedInt8Weights> packed_;
  std::vector<int32_t> folded_bias_;
  std::vector<float> multiplier_;
};

/// float32 -> uint8.
class Quantize : public nn::Module {
 public:
  explicit Quantize(const TensorQParams& qparams);
  Tensor forward(const Tensor& x) override;
  std::string type() const override { return "Quantize"; }
  Attributes attributes() const override;

 private:
  TensorQParams qparams_;
};

/// uint8 -> float32.
class Dequantize : public nn::Module {
 public:
  explicit Dequantize(const TensorQParams& qparams);
  Tensor forward(const Tensor& x) override;
  std::string type() const override { return "Dequantize"; }
  Attributes attributes() const override;

 private:
  TensorQParams qparams_;
};

}  // namespace thimble::quant
