// Integer layers of two values.
#pragma once

#include <memory>

#include <thimble/core/api.h>
#include <thimble/quant/layers/quantized_layer.h>

namespace thimble::quant {

/// Two values of integers, uint8, broadcast as usual, each with its own parameters -> uint8. What both are multiplied
/// by to be in units of the output is one float for each.
class THIMBLE_API QuantizedPair : public IntegerLayer {
 public:
  Attributes attributes() const override;

 protected:
  /// Throws ValueError, which begins with `type`, for parameters that are not sound.
  QuantizedPair(const char* type, const TensorQParams& a, const TensorQParams& b, const TensorQParams& output);
  /// The same, unless both scales divided by the output's are floats.
  void check_scales(const char* type) const;
  void check_inputs(std::span<const nn::ValueInfo> inputs) const override;

  TensorQParams a_, b_, output_;
};

/// a + b, optionally with a ReLU.
class THIMBLE_API QuantizedAdd : public QuantizedPair {
 public:
  /// Throws ValueError for parameters that are not sound.
  QuantizedAdd(const TensorQParams& a, const TensorQParams& b, const TensorQParams& output, bool relu);
  std::unique_ptr<nn::InferenceStep> inference_step(std::span<const nn::ValueInfo> inputs) const override;
  std::string type() const override { return "QuantizedAdd"; }
  Attributes attributes() const override;

 private:
  bool relu_;
};

/// a - b.
class THIMBLE_API QuantizedSub : public QuantizedPair {
 public:
  /// Throws ValueError for parameters that are not sound.
  QuantizedSub(const TensorQParams& a, const TensorQParams& b, const TensorQParams& output);
  std::unique_ptr<nn::InferenceStep> inference_step(std::span<const nn::ValueInfo> inputs) const override;
  std::string type() const override { return "QuantizedSub"; }
};

/// a * b. The product of the integers is exact; then one float multiplication.
class THIMBLE_API QuantizedMul : public QuantizedPair {
 public:
  /// Throws ValueError for parameters that are not sound.
  QuantizedMul(const TensorQParams& a, const TensorQParams& b, const TensorQParams& output);
  std::unique_ptr<nn::InferenceStep> inference_step(std::span<const nn::ValueInfo> inputs) const override;
  std::string type() const override { return "QuantizedMul"; }
};

/// The larger one of a and b.
class THIMBLE_API QuantizedMaximum : public QuantizedPair {
 public:
  /// Throws ValueError for parameters that are not sound.
  QuantizedMaximum(const TensorQParams& a, const TensorQParams& b, const TensorQParams& output);
  std::unique_ptr<nn::InferenceStep> inference_step(std::span<const nn::ValueInfo> inputs) const override;
  std::string type() const override { return "QuantizedMaximum"; }
};

/// The smaller one of a and b.
class THIMBLE_API QuantizedMinimum : public QuantizedPair {
 public:
  /// Throws ValueError for parameters that are not sound.
  QuantizedMinimum(const TensorQParams& a, const TensorQParams& b, const TensorQParams& output);
  std::unique_ptr<nn::InferenceStep> inference_step(std::span<const nn::ValueInfo> inputs) const override;
  std::string type() const override { return "QuantizedMinimum"; }
};

}  // namespace thimble::quant
