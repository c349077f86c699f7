#include <thimble/core/kernels/int8/quantize.h>
#include <thimble/core/parallel.h>
#include <thimble/quant/blocks.h>
#include <thimble/quant/observers/qparams_mse.h>
#include <thimble/quant/observers/range_search.h>

namespace thimble::quant {

namespace {

double squared_error(const NDArray& x, const QParams& p) {
  const double scale = p.scale[0];
  return kernels::squared_steps_error(x.data<float>(), x.numel(),
                                      {p.scale[0], p.zero_point[0], p.spec.qmin(), p.spec.qmax()}) *
         scale * scale;
}

// Each group as a channel of its own.
QParams choose_for_groups(const NDArray& x, const QuantizationSpec& spec) {
  const Blocks blocks(x.shape(), spec, "choose_qparams_mse");
  QuantizationSpec per_channel = spec;
  per_channel.group_size = 0;
  QParams p = choose_qparams_mse(x.contiguous().reshape({blocks.channels, blocks.inner}), per_channel);
  p.spec = spec;
  return p;
}

}  // namespace

QParams choose_qparams_mse(const NDArray& x, const QuantizationSpec& spec) {
  if (spec.group_size != 0) return choose_for_groups(x, spec);
  Range range = min_max(x, spec);
  const auto shrink = [&](const NDArray& values, size_t c) {
    const ClipRange best = search_range({range.min[c], range.max[c]}, spec, RangeSearch::together,
                                        [&](const QParams& p) { return squared_error(values, p); });
    range.min[c] = best.low;
    range.max[c] = best.high;
  };
  if (spec.axis)
    parallel_for(static_cast<int64_t>(range.min.size()), 1, [&](int64_t begin, int64_t end) {
      for (int64_t c = begin; c < end; ++c) shrink(x.slice(*spec.axis, c, c + 1).contiguous(), static_cast<size_t>(c));
    });
  else
    shrink(x.contiguous(), 0);
  return choose_qparams(range.min, range.max, spec);
}

}  // namespace thimble::quant
