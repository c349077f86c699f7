#include <algorithm>
#include <cmath>
#include <vector>

#include <thimble/quant/observers/clipping.h>

namespace thimble::quant {

namespace {

// Sums over values v of 1, v and v^2.
struct Moments {
  double zeroth = 0, first = 0, second = 0;

  friend Moments operator+(const Moments& a, const Moments& b) {
    return {a.zeroth + b.zeroth, a.first + b.first, a.second + b.second};
  }
  friend Moments operator-(const Moments& a, const Moments& b) {
    return {a.zeroth - b.zeroth, a.first - b.first, a.second - b.second};
  }
  double squared_distance_to(double center) const { return second - center * (2 * first - center * zeroth); }
};

// Of `density` values a unit between from and to.
Moments spread(double density, double from, double to) {
  const double values = density * (to - from);
  return {values, values * (from + to) / 2, values * (from * from + from * to + to * to) / 3};
}

// The moments of a histogram's values below any limit, from sums over its bins.
class CumulativeMoments {
 public:
  explicit CumulativeMoments(const Histogram& h) : grid_(h.grid()) {
    for (int64_t i = 0; i < grid_.bins; ++i) {
      const double from = std::max<double>(grid_.edge(i), h.min()), to = std::min<double>(grid_.edge(i + 1), h.max());
      const auto count = static_cast<double>(h.count(i));
      const bool is_point = !(from < to);  // the largest value alone, at the edge of its bin
      const Bin bin{from, to, is_point ? 0 : count / (to - from), sum_};
      bins_.push_back(bin);
      sum_ = sum_ + (is_point ? Moments{count, count * to, count * to * to} : spread(bin.density, from, to));
    }
  }

  const Moments& all() const { return sum_; }
  Moments below(double limit) const {
    const double position = std::floor(limit / grid_.width()) - static_cast<double>(grid_.first);
    if (position < 0) return {};
    if (position >= static_cast<double>(grid_.bins)) return sum_;
    const Bin& bin = bins_[static_cast<size_t>(position)];
    return bin.before + spread(bin.density, bin.from, std::clamp(limit, bin.from, std::max(bin.from, bin.to)));
  }

 private:
  struct Bin {
    double from, to, density;
    Moments before;
  };
  BinGrid grid_;
  std::vector<Bin> bins_;
  Moments sum_;
};

double squared_error_of(const CumulativeMoments& values, const QParams& p) {
  const double scale = p.scale[0];
  double sum = 0;
  Moments before;
  for (int32_t q = p.spec.qmin(); q <= p.spec.qmax(); ++q) {
    const double n = q - p.zero_point[0];
    const Moments up_to = q == p.spec.qmax() ? values.all() : values.below((n + 0.5) * scale);
    sum += (up_to - before).squared_distance_to(n * scale);
    before = up_to;
  }
  return std::max(sum, 0.0);  // of differences, which may leave a rounding error
}

}  // namespace

double squared_error(const Histogram& h, const QParams& p) { return squared_error_of(CumulativeMoments(h), p); }

ClipRange mse_range(const Histogram& h, const QuantizationSpec& spec) {
  const CumulativeMoments values(h);
  return search_range({h.min(), h.max()}, spec, RangeSearch::both_ends,
                      [&](const QParams& p) { return squared_error_of(values, p); });
}

}  // namespace thimble::quant
