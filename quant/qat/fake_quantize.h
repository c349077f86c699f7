// FakeQuantize: the layer that stands for quantization while a network is trained.
#pragma once

#include <optional>

#include <thimble/core/api.h>
#include <thimble/quant/observers/observer.h>
#include <thimble/quant/qat/fake_quantize_op.h>

namespace thimble::quant {

/// Hands on what the quantized form of its input would say, through fake_quantize(). In training, its parameters follow
/// the values that pass, as an observer chooses them, until that is switched off; or, with learned steps, its scale is
/// a parameter of the model (LSQ). torch.ao.quantization.FakeQuantize is the model.
class THIMBLE_API FakeQuantize : public Observer {
 public:
  /// What the layer is made with.
  struct Options {
    QuantizationSpec spec = {};
    /// Of the same spec, in which it is registered as "observer"; null: each input's smallest and largest value, as
    /// suits weights.
    std::shared_ptr<Observer> observer = nullptr;
    /// The scale is learned, from where the first input in training that is not all zeros puts it; until then, values
    /// pass as they are. Then there is no observer.
    bool learned = false;
    /// Dimension 0 of inputs counts samples, as that of activations does.
    bool batched = false;
    /// Parameters for each index along spec.axis (or group): how many there are.
    int64_t channels = 1;
  };

  /// Throws ValueError for options that are not sound.
  explicit FakeQuantize(const Options& options);

  Tensor forward(const Tensor& x) override;
  std::string type() const override { return "FakeQuantize"; }
  Attributes attributes() const override;
  /// Only in training does it change.
  bool has_side_effects() const override { return training() && observing_; }

  /// Throws ValueError unless has_qparams().
  QParams qparams() const override;
  /// Whether values have been seen.
  bool has_qparams() const { return initialized_.item<uint8_t>() != 0; }
  /// What x is quantized with in evaluation: qparams(), unless each input has its own.
  QParams qparams_for(const NDArray& x) const;
  /// Chooses parameters for these values, as the first input in training does. Throws ValueError for values that are
  /// not finite.
  void initialize(const NDArray& x);

  /// Whether parameters follow what passes (or, if they are learned, are learned).
  void set_observing(bool observing);
  /// Whether values are rounded at all.
  void set_quantizing(bool quantizing) { quantizing_ = quantizing; }
  bool quantizing() const { return quantizing_; }
  bool learned() const { return options_.learned; }

 private:
  void observe(const NDArray& x, const Range& range) override;
  void set_qparams(const QParams& qparams);
  double grad_factor(const Shape& x, int32_t zero_point) const;

  Options options_;
  bool observing_ = true, quantizing_ = true;
  Tensor scale_;        // [channels]
  Tensor zero_point_;   // int32 [channels]
  Tensor initialized_;  // uint8, whether there are parameters yet
};

}  // namespace thimble::quant
