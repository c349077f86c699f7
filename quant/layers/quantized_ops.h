// Integer layers without weights: the edges between float and integer values, tables and bounds. What joins two values
// is in quantized_pairs.h.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/nn/inference/reads_views.h>
#include <thimble/quant/layers/quantized_layer.h>
#include <thimble/quant/layers/quantized_pairs.h>

namespace thimble::quant {

/// float32 -> uint8, of any shape.
class THIMBLE_API Quantize : public IntegerLayer, public nn::ReadsViews {
 public:
  explicit Quantize(const TensorQParams& qparams);
  std::unique_ptr<nn::InferenceStep> inference_step(std::span<const nn::ValueInfo> inputs) const override;
  std::string type() const override { return "Quantize"; }
  Attributes attributes() const override;

 private:
  void check_inputs(std::span<const nn::ValueInfo> inputs) const override;
  TensorQParams qparams_;
};

/// uint8 -> float32, of any shape.
class THIMBLE_API Dequantize : public IntegerLayer {
 public:
  explicit Dequantize(const TensorQParams& qparams);
  std::unique_ptr<nn::InferenceStep> inference_step(std::span<const nn::ValueInfo> inputs) const override;
  std::string type() const override { return "Dequantize"; }
  Attributes attributes() const override;

 private:
  void check_inputs(std::span<const nn::ValueInfo> inputs) const override;
  TensorQParams qparams_;
};

/// table[x], of uint8 of any shape: what any function of one number is between a dequantize and a quantize, exactly.
/// The state holds `table`, uint8 [256]; attributes say what the integers stand for, where that is known.
class THIMBLE_API QuantizedTable : public IntegerLayer {
 public:
  /// The table is to come by load_state().
  QuantizedTable();
  /// The same, of integers with these parameters. Throws ValueError for some that are not sound.
  QuantizedTable(const TensorQParams& input, const TensorQParams& output);
  /// Throws ValueError unless there are 256 entries.
  explicit QuantizedTable(const std::vector<uint8_t>& table);
  /// Of integers with these parameters. Throws ValueError for some that are not sound, too.
  QuantizedTable(const std::vector<uint8_t>& table, const TensorQParams& input, const TensorQParams& output);
  std::unique_ptr<nn::InferenceStep> inference_step(std::span<const nn::ValueInfo> inputs) const override;
  std::string type() const override { return "QuantizedTable"; }
  Attributes attributes() const override;

 private:
  void check_inputs(std::span<const nn::ValueInfo> inputs) const override { check_one_uint8(inputs); }
  void fill(const std::vector<uint8_t>& table);
  Tensor table_;
  std::optional<TensorQParams> input_, output_;
};

/// uint8 -> uint8 of other parameters, of any shape: round_half_even((x - zero point) * scale / output's scale) +
/// output's zero point, clamped.
class THIMBLE_API Requantize : public IntegerLayer {
 public:
  /// Throws ValueError for parameters that are not sound.
  Requantize(const TensorQParams& input, const TensorQParams& output);
  std::unique_ptr<nn::InferenceStep> inference_step(std::span<const nn::ValueInfo> inputs) const override;
  std::string type() const override { return "Requantize"; }
  Attributes attributes() const override;

 private:
  void check_inputs(std::span<const nn::ValueInfo> inputs) const override { check_one_uint8(inputs); }
  TensorQParams input_, output_;
};

/// min(max(x, low), high): relu and its like, of uint8 of any shape, whose parameters the result keeps.
class THIMBLE_API QuantizedClamp : public IntegerLayer {
 public:
  /// Throws ValueError unless 0 <= low <= high <= 255.
  QuantizedClamp(int64_t low, int64_t high);
  std::unique_ptr<nn::InferenceStep> inference_step(std::span<const nn::ValueInfo> inputs) const override;
  std::string type() const override { return "QuantizedClamp"; }
  Attributes attributes() const override { return {{"low", low_}, {"high", high_}}; }

 private:
  void check_inputs(std::span<const nn::ValueInfo> inputs) const override { check_one_uint8(inputs); }
  int64_t low_, high_;
};

}  // namespace thimble::quant
