// Observers: they watch the values that pass during calibration and choose quantization parameters for them.
#pragma once

#include <thimble/nn/module.h>
#include <thimble/quant/qparams.h>

namespace thimble::quant {

/// Base. In a graph an observer is a layer that hands its input on unchanged.
class Observer : public nn::Module {
 public:
  /// Looks at x (float32) and returns it. Throws ValueError for values that are not finite.
  Tensor forward(const Tensor& x) override;

  /// The parameters for what was seen. Throws ValueError if nothing was.
  virtual QParams qparams() const = 0;
  const QuantizationSpec& spec() const { return spec_; }
  bool has_side_effects() const override { return true; }
  Attributes attributes() const override { return spec_.to_attributes(); }

 protected:
  explicit Observer(const QuantizationSpec& spec) : spec_(spec) {}
  virtual void observe(const NDArray& x) = 0;

 private:
  QuantizationSpec spec_;
};

/// The smallest and the largest value ever seen, per tensor.
class MinMaxObserver : public Observer {
 public:
  /// Throws ValueError for a per-channel spec.
  explicit MinMaxObserver(const QuantizationSpec& spec = {});
  std::string type() const override { return "MinMaxObserver"; }
  QParams qparams() const override;

 private:
  void observe(const NDArray& x) override;

  Tensor min_, max_;  // 0-d; infinite before the first value
};

/// An observer by name ("minmax"). Throws ValueError for an unknown name.
std::shared_ptr<Observer> make_observer(const std::string& name, const QuantizationSpec& spec);

}  // namespace thimble::quant
