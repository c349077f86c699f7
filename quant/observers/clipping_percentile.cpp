#include <algorithm>
#include <numeric>
#include <vector>

#include <thimble/core/error.h>
#include <thimble/quant/observers/clipping.h>

namespace thimble::quant {

namespace {

// Bins from the innermost outward, from `start` in steps of `step`: how far out, in bins, this many values reach.
double reach(const std::vector<int64_t>& counts, double values) {
  double sum = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    const auto count = static_cast<double>(counts[i]);
    if (count > 0 && sum + count >= values) return static_cast<double>(i) + std::max(0.0, values - sum) / count;
    sum += count;
  }
  return static_cast<double>(counts.size());
}

}  // namespace

ClipRange percentile_range(const Histogram& h, const QuantizationSpec& spec, double percentile) {
  check<ValueError>(percentile > 0 && percentile <= 100, "percentile_range: ", percentile, " is not in (0, 100]");
  const BinGrid& grid = h.grid();
  const double total = static_cast<double>(h.total()), share = percentile / 100;
  const auto clipped = [&](double v) { return static_cast<float>(std::clamp<double>(v, h.min(), h.max())); };

  if (spec.scheme == QScheme::symmetric) {
    // 0 is an edge, so magnitudes have bins of the same width.
    std::vector<int64_t> magnitudes(static_cast<size_t>(std::max(grid.bins_below_zero(), grid.bins)));
    for (int64_t i = 0; i < grid.bins; ++i) {
      const int64_t position = i - grid.bins_below_zero();
      magnitudes[static_cast<size_t>(position < 0 ? -position - 1 : position)] += h.count(i);
    }
    const double limit = reach(magnitudes, share * total) * grid.width();
    return {clipped(-limit), clipped(limit)};
  }
  const double tails = h.min() < 0 && h.max() > 0 ? 2 : 1, kept = (1 - (1 - share) / tails) * total;
  std::vector<int64_t> upward;
  for (int64_t i = 0; i < grid.bins; ++i) upward.push_back(h.count(i));
  const std::vector<int64_t> downward(upward.rbegin(), upward.rend());
  const double high = grid.edge(0) + reach(upward, kept) * grid.width();
  const double low = grid.edge(grid.bins) - reach(downward, kept) * grid.width();
  ClipRange range{h.min() < 0 ? clipped(low) : h.min(), h.max() > 0 ? clipped(high) : h.max()};
  // Nothing is kept but the median, which lies in a gap.
  if (range.low > range.high) range.low = range.high = std::midpoint(range.low, range.high);
  return range;
}

}  // namespace thimble::quant
