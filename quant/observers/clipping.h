// Where to clip values that are known by their histogram. Each takes a histogram that is not empty and a per-tensor
// spec, and returns a part of [min, max] (symmetric schemes use its larger magnitude). All depend on the histogram
// alone.
#pragma once

#include <thimble/core/api.h>
#include <thimble/quant/observers/histogram.h>
#include <thimble/quant/observers/range_search.h>

namespace thimble::quant {

/// Keeps `percentile` percent of the values, of all that were seen, zeros too. A symmetric scheme keeps those of
/// smallest magnitude, as TensorRT and pytorch-quantization do. An affine one cuts the same share at both ends, (100 -
/// percentile) / 2 percent, as ONNX Runtime does; but where all values have one sign (after ReLU), the range begins at
/// 0 anyway, and the whole share is cut at the other end. Interpolates within a bin. Throws ValueError unless 0 <
/// percentile <= 100.
THIMBLE_API ClipRange percentile_range(const Histogram& histogram, const QuantizationSpec& spec, double percentile);

/// The smallest mean squared error of quantizing, zero point included; see search_range(). Never worse than [min, max].
THIMBLE_API ClipRange mse_range(const Histogram& histogram, const QuantizationSpec& spec);
/// The sum over all values of (x - dequantize(quantize(x)))^2, each bin's taken to be spread evenly over it.
THIMBLE_API double squared_error(const Histogram& histogram, const QParams& qparams);

/// The range whose integers, as a distribution, diverge least (Kullback-Leibler) from the values, whose outliers count
/// for the outermost bins: TensorRT's calibration (Migacz, "8-bit inference with TensorRT", GTC 2017), with four
/// differences. Ranges are [max(min, -t), min(max, t)], so that unsigned affine integers spend none on values that do
/// not occur; bins are grouped by the very integer they quantize to; and a bin that 0 lies in counts no more than its
/// neighbours, because every range represents the zeros that ReLU makes exactly (as in pytorch-quantization); and the
/// share o of values that are clipped adds log(1 / (1 - o)) - o, about o^2 / 2, without which a range that holds next
/// to nothing could be a perfect match (the divergence is that of measures, not of distributions). Of equal ranges the
/// widest, so that few values are not clipped.
THIMBLE_API ClipRange entropy_range(const Histogram& histogram, const QuantizationSpec& spec);

/// What torch.ao's HistogramObserver chooses: cuts off values at the denser end, 1e-5 of them at a time, until the
/// squared error grows for the first time. Its error is that of integers in the middles of equal parts of the range, 0
/// or not, so that the range it finds may be worse than [min, max], after ReLU above all. The same range as torch's to
/// a hundredth, unless chance decides where the error grows first: then torch's, too, differs with the number of bins.
/// torch 1.13 counts between int(min) and int(max) alone, drops what lies beyond, and stretches the rest over [min,
/// max]; where these are no whole numbers it chooses otherwise, with a larger error, and later versions do as this one.
THIMBLE_API ClipRange norm_range(const Histogram& histogram, const QuantizationSpec& spec);

}  // namespace thimble::quant
