#include <algorithm>
#include <cmath>

#include <thimble/quant/clipping.h>

namespace thimble::quant {

namespace {

// In units of the scale, and with the zero point at 0: integers n in [low, high] stand for n.
struct Steps {
  double low, high;

  double nearest(double v) const {
    constexpr double kRound = 0x1.8p52;  // adding it leaves no bits below 1
    return (std::clamp(v, low, high) + kRound) - kRound;
  }
  // The integral of (v - nearest(v))^2 up to v, but for a constant: each integer in between adds 1 / 12. Without a
  // jump where the nearest integer changes, so a difference of two is the integral between them.
  double integral(double v) const {
    const double n = nearest(v), distance = v - n;
    return n / 12 + distance * distance * distance / 3;
  }
  double mean_squared_error(double from, double to) const {
    const double error = from - nearest(from);
    return to - from > 1e-9 * (1 + std::abs(from)) ? (integral(to) - integral(from)) / (to - from) : error * error;
  }
};

}  // namespace

double squared_error(const Histogram& h, const QParams& p) {
  const double scale = p.scale[0], per_scale = 1 / scale;
  const Steps steps{static_cast<double>(p.spec.qmin() - p.zero_point[0]),
                    static_cast<double>(p.spec.qmax() - p.zero_point[0])};
  const BinGrid& grid = h.grid();
  double sum = 0;
  for (int64_t i = 0; i < grid.bins; ++i) {
    if (h.count(i) == 0) continue;
    const double from = std::max<double>(grid.edge(i), h.min()), to = std::min<double>(grid.edge(i + 1), h.max());
    sum += static_cast<double>(h.count(i)) * steps.mean_squared_error(from * per_scale, to * per_scale);
  }
  return sum * scale * scale;
}

ClipRange mse_range(const Histogram& h, const QuantizationSpec& spec) {
  return search_range({h.min(), h.max()}, spec, RangeSearch::both_ends,
                      [&](const QParams& p) { return squared_error(h, p); });
}

}  // namespace thimble::quant
