// The linear layer whose weights are integers of few bits, and whose activations stay float32.
//
//   const quant::QuantizationSpec int4{
//       .bits = 4, .is_signed = true, .scheme = quant::QScheme::symmetric, .axis = 0, .group_size = 128};
//   auto layer = quant::WeightOnlyLinear::from_float(linear, int4, false);
//   Tensor y = (*layer)(x);                       // float32 [..., in] -> float32 [..., out]
#pragma once

#include <memory>
#include <mutex>

#include <thimble/core/api.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/quant/layers/quantized_layer.h>

namespace thimble::kernels {
class WeightOnlyMatrix;
}

namespace thimble::quant {

/// y = x W'^T + b, optionally with a ReLU, all float32, where W' = weight_scale * (u - zero point) for unsigned
/// integers u of 2 to 8 bits; weight_scale and zero point for each output channel or each group of consecutive input
/// features.
///
/// x is rounded to 16 bits for each block of at most 1024 features within a group, which adds an error of
/// max(max|x| / 64000, 2^-127) * |w'| a feature; products are exact. Bit-identical on every instruction set, thread
/// count and batch split; core/kernels/weight_only/weight_only_gemm.h says how. A row that holds NaN or infinity gives
/// NaN.
///
/// State, with groups = 1 or ceil(in_features / group_size), of which the last may be smaller:
/// - weight, uint8 [out, ceil(in * bits / 8)]: each row's integers u bit-packed
/// (core/kernels/weight_only/bit_packing.h), the last
///   byte filled up with zeros. Signed weights q are stored as u = q + 2^(bits - 1), as ONNX's MatMulNBits has them.
/// - weight_scale, float32 [out] per channel, [out, groups] with groups.
/// - weight_zero_point, uint8, the same shape; only if the scheme is affine. Symmetric: 2^(bits - 1) everywhere.
/// - bias, float32 [out], if there is one.
class THIMBLE_API WeightOnlyLinear : public IntegerLayer {
 public:
  /// What the layer is made with.
  struct Config {
    int64_t in_features = 0, out_features = 0;
    int bits = 4;
    QScheme scheme = QScheme::symmetric;
    int64_t group_size = 0;  ///< 0: one scale for each output channel
    bool relu = false;
    bool bias = true;
  };

  /// Tensors are to come by load_state(), which throws ValueError for scales that are not positive and finite, zero
  /// points of too many bits and rows that are not filled up with zeros. Throws ValueError for sizes below 1, bits
  /// beyond 2 to 8 or groups of a negative size.
  explicit WeightOnlyLinear(const Config& config);

  /// Quantizes a float layer's weights with the parameters that the observer, "minmax" or "mse", chooses. Throws
  /// ValueError for weights that are not finite, a spec without axis = 0, an unknown observer, and as the constructor.
  /// Signed or unsigned makes no difference but for the zero points that affine ranges round to.
  static std::shared_ptr<WeightOnlyLinear> from_float(const nn::Linear& linear, const QuantizationSpec& weight_spec,
                                                      bool relu, const std::string& weight_observer = "minmax");

  std::unique_ptr<nn::InferenceStep> inference_step(std::span<const nn::ValueInfo> inputs) const override;
  std::string type() const override { return "WeightOnlyLinear"; }
  Attributes attributes() const override;
  Tensor forward_all(std::span<const Tensor> inputs) override { return forward_rows(inputs); }

  const Config& config() const { return config_; }
  /// The integers [out, in]: uint8 u, or of symmetric weights int8 u - 2^(bits - 1).
  NDArray unpacked() const;
  /// W', float32 [out, in].
  NDArray dequantized_weight() const;

 private:
  using Matrix = std::shared_ptr<const kernels::WeightOnlyMatrix>;

  void check_inputs(std::span<const nn::ValueInfo> inputs) const override;
  void state_changed() override;
  /// The weights as the kernel wants them, made when they are first asked for. Throws ValueError if there are none yet.
  Matrix matrix() const;

  Config config_;
  Tensor weight_, scale_, zero_point_, bias_;
  bool loaded_ = false;
  mutable std::mutex matrix_mutex_;
  mutable Matrix matrix_;
};

}  // namespace thimble::quant
