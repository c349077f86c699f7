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

}  // namespace

QParams choose_qparams_mse(const NDArray& x, const QuantizationSpec& spec) {
  Range range = min_max(x, spec);
  const auto shrink = [&](const NDArray& values, size_t c) {
    const ClipRange best = search_range({range.min[c], range.max[c]}, spec, RangeSearch::together,
                                        [&](const QParams& p) { return squared_error(values, p); });
    range.min[c] = best.low;
    range.max[c] = best.high;
  };
  const NDArray all = x.contiguous();
  const Blocks blocks(x.shape(), spec, "choose_qparams_mse");
  const auto values_of = [&](int64_t c) {
    if (spec.group_size == 0) return x.slice(*spec.axis, c, c + 1).contiguous();
    return all.reshape({all.numel()}).slice(0, blocks.begin(c), blocks.begin(c) + blocks.size(c));
  };
  if (spec.axis)
    parallel_for(blocks.channels, 1, [&](int64_t begin, int64_t end) {
      for (int64_t c = begin; c < end; ++c) shrink(values_of(c), static_cast<size_t>(c));
    });
  else
    shrink(all, 0);
  return choose_qparams(range.min, range.max, spec);
}

}  // namespace thimble::quant
