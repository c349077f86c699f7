// What integer layers have in common.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include <thimble/core/kernels/int8_gemm.h>
#include <thimble/nn/inference.h>
#include <thimble/nn/module.h>
#include <thimble/quant/product_weights.h>
#include <thimble/quant/qparams.h>

namespace thimble::quant {

/// The parameters of a tensor quantized as a whole, unsigned and affine.
struct TensorQParams {
  float scale = 1;
  int32_t zero_point = 0;
  int bits = 8;

  /// Signed parameters become the unsigned ones that mean the same, a reduced range one of fewer bits. Throws
  /// ValueError for more than one scale.
  static TensorQParams from(const QParams& qparams);
  /// Throws ValueError that begins with `what`, unless the scale is positive and finite, bits are 2 to 8 and the zero
  /// point is an integer of so many bits.
  void check(const char* what) const;

  int32_t qmax() const { return (1 << bits) - 1; }
  /// As "<prefix>scale", "<prefix>zero_point", "<prefix>bits".
  void to_attributes(Attributes& attributes, const std::string& prefix) const;
  /// Throws FormatError.
  static TensorQParams from_attributes(const Attributes& attributes, const std::string& prefix);

  friend bool operator==(const TensorQParams&, const TensorQParams&) = default;
};

/// A layer that is its inference step: forward() makes one for the input's shape, keeps it for the next call, and runs
/// it. Derived classes check the input in check_input() and make the step.
class IntegerLayer : public nn::Module {
 public:
  /// In eval mode: integers are not trained.
  IntegerLayer() { eval(); }
  Tensor forward_all(std::span<const Tensor> inputs) override;
  bool is_per_sample() const override { return true; }

 protected:
  /// Throws ShapeError or DTypeError for inputs that the layer cannot take.
  virtual void check_inputs(std::span<const nn::ValueInfo> inputs) const = 0;
  /// The same, unless there is one input and it is uint8. Messages begin with the layer's type.
  void check_one_uint8(std::span<const nn::ValueInfo> inputs) const;
  /// IntegerLayer::forward_all() for a layer of rows of features: an input of 4 dimensions is no image.
  Tensor forward_rows(std::span<const Tensor> inputs);
  /// Forgets the step: weights have changed.
  void state_changed() override;

 private:
  struct Prepared {
    std::vector<nn::ValueInfo> inputs;
    std::shared_ptr<const nn::InferenceStep> step;
  };
  std::shared_ptr<const nn::InferenceStep> step_for(std::span<const Tensor> inputs);

  std::mutex mutex_;
  Prepared prepared_;
};

/// What happens to the sums of an integer product on their way out, with the arrays that the kernels point to.
struct Requantization {
  std::vector<int32_t> bias;  ///< with the input's zero point folded in, [out]
  std::vector<float> multiplier;
  int32_t zero_point = 0, low = 0, high = 255;
  bool relu = false;

  kernels::Int8Epilogue epilogue() const { return {bias.data(), multiplier.data(), zero_point, low, high, relu}; }
};

/// An integer product: y = x W^T + b, optionally with a ReLU. x uint8 (affine, per tensor), W int8 (symmetric, per
/// output channel), sums and bias int32 at scale_x * scale_w, one float multiplication an output to requantize. y is
/// uint8, or float32 if no output parameters are given. Bit-identical on every instruction set and thread count.
///
/// Weights of fewer than 8 bits multiply as 2^weight_shift() times themselves, as if they had 8: a bias at scale_x *
/// scale_w would be as coarse as they are, so it is int32 at scale_x * scale_w / 2^weight_shift(). The state holds
/// `weight`, int8 [out, ...] or, of fewer than 8 bits, uint8 [out, bytes] with w - qmin packed (see
/// kernels::pack_bits); `weight_scale`, float32 [out]; `bias`, int32 [out].
class IntegerProduct : public IntegerLayer {
 public:
  struct Quantization {
    TensorQParams input = {};
    std::optional<TensorQParams> output = std::nullopt;
    int weight_bits = 8;
    bool relu = false;
  };

  const Quantization& quantization() const { return quantization_; }
  /// int8 [out, ...], whatever their number of bits.
  NDArray weight() const;
  const Shape& weight_shape() const { return shape_; }
  int weight_shift() const { return 8 - quantization_.weight_bits; }
  /// What sums are multiplied by on their way out: scale_x * scale_w / 2^weight_shift() / scale_y, [out].
  const std::vector<float>& multiplier() const { return multiplier_; }
  /// Throws FormatError.
  static Quantization quantization_from(const Attributes& attributes);

 protected:
  /// weight_shape is [out, ...]; tensors are to come by load_state(). Throws ValueError for more products a sum than
  /// the kernels can add, or parameters that are not sound.
  IntegerProduct(const char* type, const Shape& weight_shape, const Quantization& quantization);

  /// Quantizes a float layer's weight and bias and loads them. Throws ValueError for values that are not finite or a
  /// spec other than signed, symmetric and per tensor or output channel.
  void load_float(const ProductWeights& weights);

  void state_changed() override;
  Attributes quantization_attributes() const;

  /// What the kernels multiply with: weight() * 2^weight_shift().
  NDArray shifted_weight() const;
  /// For shifted weights with these sums a channel. Throws ValueError if there are no weights yet.
  Requantization requantization(std::span<const int32_t> channel_sums) const;
  DType output_dtype() const { return quantization_.output ? DType::uint8 : DType::float32; }

 private:
  bool is_packed() const { return quantization_.weight_bits < 8; }
  Shape packed_shape() const;
  /// weight() as the state holds it.
  NDArray packed(const NDArray& weight) const;
  /// What packed values are larger by.
  int lowest() const { return 1 << (quantization_.weight_bits - 1); }

  const char* type_;
  Shape shape_;  // of the weights
  int64_t k_;    // products in a sum
  Quantization quantization_;
  Tensor weight_;                  // int8 [out, ...], or packed
  Tensor weight_scale_;            // float32 [out]
  Tensor bias_;                    // int32 [out]
  std::vector<float> multiplier_;  // [out]
};

}  // namespace thimble::quant
