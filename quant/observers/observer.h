// Observers: they watch the values that pass during calibration and choose quantization parameters for them. Names and
// defaults are torch.ao.quantization's.
//
//   auto observer = quant::make_observer("percentile", quant::QuantizationSpec::activation(), {.percentile = 99.9});
//   for (const Tensor& x : batches) (*observer)(x);
//   quant::QParams p = observer->qparams();
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/nn/module.h>
#include <thimble/quant/qparams.h>

namespace thimble::quant {

/// Base. In a graph an observer is a layer that hands its input on unchanged.
class THIMBLE_API Observer : public nn::Module {
 public:
  /// Looks at x (float32) and returns it. Empty ones say nothing. Throws ValueError for values that are not finite; the
  /// observer is then as before.
  Tensor forward(const Tensor& x) override;

  /// The parameters for what was seen. Throws ValueError if nothing was.
  virtual QParams qparams() const = 0;
  const QuantizationSpec& spec() const { return spec_; }
  bool has_side_effects() const override { return true; }
  Attributes attributes() const override { return spec_.to_attributes(); }

 protected:
  /// Throws ValueError for a spec whose integers are too few.
  explicit Observer(const QuantizationSpec& spec);
  /// x is not empty, its values lie in `range`: one for each index along spec().axis, or one.
  virtual void observe(const NDArray& x, const Range& range) = 0;
  /// Throws the ValueError of qparams() unless something was seen.
  void check_seen(bool seen) const;

 private:
  QuantizationSpec spec_;
};

/// The smallest and the largest value ever seen, per tensor or per channel.
class THIMBLE_API MinMaxObserver : public Observer {
 public:
  /// `channels` is the size along spec.axis; 0 if the first batch shall say. Throws ValueError for a negative one, or
  /// one without an axis.
  explicit MinMaxObserver(const QuantizationSpec& spec = {}, int64_t channels = 0);
  std::string type() const override { return "MinMaxObserver"; }
  /// With the number of channels as far as it is known, so that a copy's buffers have the right shape.
  Attributes attributes() const override;
  QParams qparams() const override;

 protected:
  /// Takes a batch's smallest and largest value into those so far; these are infinite (min > max) at first.
  virtual void merge(float batch_min, float batch_max, float& min, float& max) const;

 private:
  /// Throws ShapeError if the number of channels changes.
  void observe(const NDArray& x, const Range& range) override;

  Tensor min_, max_;  // 0-d; per channel [channels], or [0] as long as their number is not known
};

/// The moving averages of batches' smallest and largest values: m = m + averaging_constant * (batch's - m), beginning
/// with the first batch's. Per tensor or per channel.
class THIMBLE_API MovingAverageMinMaxObserver : public MinMaxObserver {
 public:
  /// Throws ValueError unless 0 < averaging_constant <= 1, and as MinMaxObserver.
  explicit MovingAverageMinMaxObserver(const QuantizationSpec& spec = {}, double averaging_constant = 0.01,
                                       int64_t channels = 0);
  std::string type() const override { return "MovingAverageMinMaxObserver"; }
  Attributes attributes() const override;

 private:
  void merge(float batch_min, float batch_max, float& min, float& max) const override;

  double averaging_constant_;
};

/// What the observers of make_observer() can be told; each takes what concerns it.
struct THIMBLE_API ObserverOptions {
  double averaging_constant = 0.01;  ///< of "moving-average"
  double percentile = 99.99;         ///< of values that "percentile" keeps
  int64_t channels = 0;              ///< if the spec is per channel and their number known
};

/// An observer by name, one of observer_names(). Throws ValueError for an unknown name, and for a per-channel spec
/// unless it is "minmax" or "moving-average".
THIMBLE_API std::shared_ptr<Observer> make_observer(const std::string& name, const QuantizationSpec& spec,
                                                    const ObserverOptions& options = {});
/// "minmax", "moving-average", ...
THIMBLE_API std::vector<std::string> observer_names();

}  // namespace thimble::quant
