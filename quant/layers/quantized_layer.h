// What integer layers have in common.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/nn/inference/inference.h>
#include <thimble/nn/module.h>
#include <thimble/quant/layers/integer_weights.h>
#include <thimble/quant/qparams.h>

namespace thimble::nn {
class BatchedProgram;
}

namespace thimble::quant {

class ProductKernel;
struct Requantization;

/// The parameters of a tensor quantized as a whole, unsigned and affine.
struct THIMBLE_API TensorQParams {
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

/// `multiplier` as the float that a kernel multiplies by. Throws ValueError that begins with `type` if float32 cannot
/// hold it.
THIMBLE_API float checked_multiplier(const std::string& type, double multiplier);

/// A layer that is its inference step: forward() runs a program of this step alone, which it keeps for the next call.
/// Derived classes check the input in check_inputs() and make the step.
class THIMBLE_API IntegerLayer : public nn::Module {
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
  /// Forgets the program: weights have changed.
  void state_changed() override;

 private:
  std::shared_ptr<const nn::BatchedProgram> program_for(std::span<const Tensor> inputs);

  std::mutex mutex_;
  std::shared_ptr<const nn::BatchedProgram> program_;  // of the last call
};

/// An integer product: y = x W^T + b, optionally with a ReLU. x uint8 (affine, per tensor), W integers of 2 to 8 bits
/// (symmetric, per output channel or group), sums int32, one float multiplication an output (and group) to requantize.
/// y is uint8, or float32 if no output parameters are given. Bit-identical on every instruction set and thread count.
///
/// The bias is int32 at scale_x * scale_w / 2^shift, which is as fine for weights of few bits, which are as coarse as
/// that is, as for those of 8 (see IntegerWeights); with groups it belongs to the first one's sum. The state holds
/// `weight` and `weight_scale` as IntegerWeights describes them, and `bias`, int32 [out].
class THIMBLE_API IntegerProduct : public IntegerLayer {
 public:
  /// What the product is made with, besides the weights' shape.
  struct Quantization {
    TensorQParams input = {};
    std::optional<TensorQParams> output = std::nullopt;
    int weight_bits = 8;
    bool relu = false;
    int64_t weight_group_size = 0;  ///< 0: a scale for each output channel
  };

  const Quantization& quantization() const { return quantization_; }
  const IntegerWeights& weights() const { return weights_; }
  /// What sums are multiplied by on their way out: scale_x * scale_w / 2^shift / scale_y, [groups][out].
  /// Throws ValueError if there are no weights yet.
  std::vector<float> multiplier() const;
  /// Adds to the bias of each output, rounded to what it counts in, as far as sums stay within int32. Throws ValueError
  /// unless there is a finite number for each output.
  void add_to_bias(std::span<const double> shift);
  std::unique_ptr<nn::InferenceStep> inference_step(std::span<const nn::ValueInfo> inputs) const override;
  /// Throws FormatError.
  static Quantization quantization_from(const Attributes& attributes);

 protected:
  /// weight_shape is [out, ...]; tensors are to come by load_state(). Throws ValueError as IntegerWeights, or for
  /// parameters that are not sound.
  IntegerProduct(const char* type, const Shape& weight_shape, const Quantization& quantization);

  /// Quantizes a float layer's weight and bias and loads them. Throws ValueError for values that are not finite or
  /// parameters that integer weights cannot have.
  void load_float(const ProductWeights& weights);

  /// The sums for an input that check_inputs() has let pass; null if it does not lie as they need it.
  virtual std::unique_ptr<ProductKernel> kernel(const nn::ValueInfo& x) const = 0;

  void state_changed() override;
  Attributes quantization_attributes() const;

 private:
  /// For weights with these sums. Throws ValueError if there are no weights yet.
  Requantization requantization(std::span<const int32_t> sums) const;

  const char* type_;
  Quantization quantization_;
  IntegerWeights weights_;
  Tensor bias_;  // int32 [out]
  bool loaded_ = false;
};

}  // namespace thimble::quant
