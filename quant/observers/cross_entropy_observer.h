// The observer for logits.
#pragma once

#include <thimble/core/api.h>
#include <thimble/quant/observers/observer.h>

namespace thimble::quant {

/// For the output of a model's last layer, logits [n, classes]: chooses the range that minimizes the cross-entropy
/// between softmax(x) and softmax(dequantize(quantize(x))) (Nagel et al., "A White Paper on Neural Network
/// Quantization", 2021, section 3.1). It keeps a sample of the rows: each 2^k-th one, with the least k for which they
/// are at most kSampleRows and hold about kSampleValues. Never worse on these than [min, max] of all rows.
class THIMBLE_API CrossEntropyObserver : public Observer {
 public:
  static constexpr int64_t kSampleRows = 1024, kSampleValues = 64 * 1024;

  /// `classes` as far as they are known; 0 if the first batch shall say. Throws ValueError for a negative number or a
  /// per-channel spec.
  explicit CrossEntropyObserver(const QuantizationSpec& spec = {}, int64_t classes = 0);
  std::string type() const override { return "CrossEntropyObserver"; }
  Attributes attributes() const override;
  QParams qparams() const override;

 private:
  /// Throws ShapeError for an x that is not [n, classes].
  void observe(const NDArray& x, const Range& range) override;
  /// Throws ValueError for a state that no observer comes to.
  void state_changed() override;
  int64_t classes() const { return rows_.shape(1); }
  NDArray sample() const;

  Tensor min_, max_, seen_;  // 0-d; seen: how many rows (int64)
  Tensor rows_;              // the sample [capacity, classes], filled from the beginning
};

}  // namespace thimble::quant
