// Observers that need the distribution of all values: they keep a histogram, and choose a range from it.
#pragma once

#include <thimble/core/api.h>
#include <thimble/quant/observers/clipping.h>
#include <thimble/quant/observers/observer.h>

namespace thimble::quant {

/// Base. Memory is that of the histogram, however much is seen; what is chosen depends neither on the order of the
/// values nor on their division into batches. Values that are all equal are not clipped.
class THIMBLE_API DistributionObserver : public Observer {
 public:
  QParams qparams() const final;
  /// Of what was seen; shares this one's counts.
  Histogram histogram() const;

 protected:
  /// Throws ValueError for a per-channel spec; `type` is the derived class's.
  DistributionObserver(const QuantizationSpec& spec, const char* type);
  /// The part of [min, max] that integers shall stand for, of a histogram that is not empty.
  virtual ClipRange clip_range(const Histogram& histogram) const = 0;

 private:
  void observe(const NDArray& x, const Range& range) override;
  /// Throws ValueError for a state that no observer comes to.
  void state_changed() override;

  Tensor min_, max_, counts_;
};

/// percentile_range() of clipping.h: 99.99 percent of values are kept.
class THIMBLE_API PercentileObserver : public DistributionObserver {
 public:
  /// Throws ValueError unless 0 < percentile <= 100.
  explicit PercentileObserver(const QuantizationSpec& spec = {}, double percentile = 99.99);
  std::string type() const override { return "PercentileObserver"; }
  Attributes attributes() const override;

 private:
  ClipRange clip_range(const Histogram& histogram) const override;

  double percentile_;
};

/// mse_range(): the smallest mean squared error.
class THIMBLE_API MSEObserver : public DistributionObserver {
 public:
  explicit MSEObserver(const QuantizationSpec& spec = {}) : DistributionObserver(spec, "MSEObserver") {}
  std::string type() const override { return "MSEObserver"; }

 private:
  ClipRange clip_range(const Histogram& histogram) const override { return mse_range(histogram, spec()); }
};

/// entropy_range(): the smallest divergence from the values' distribution.
class THIMBLE_API EntropyObserver : public DistributionObserver {
 public:
  explicit EntropyObserver(const QuantizationSpec& spec = {}) : DistributionObserver(spec, "EntropyObserver") {}
  std::string type() const override { return "EntropyObserver"; }

 private:
  ClipRange clip_range(const Histogram& histogram) const override { return entropy_range(histogram, spec()); }
};

/// norm_range(): what torch.ao's observer of this name chooses. MSEObserver finds ranges with smaller errors.
class THIMBLE_API HistogramObserver : public DistributionObserver {
 public:
  explicit HistogramObserver(const QuantizationSpec& spec = {}) : DistributionObserver(spec, "HistogramObserver") {}
  std::string type() const override { return "HistogramObserver"; }

 private:
  ClipRange clip_range(const Histogram& histogram) const override { return norm_range(histogram, spec()); }
};

}  // namespace thimble::quant
