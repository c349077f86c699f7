#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <thimble/quant/observers/clipping.h>

namespace thimble::quant {

namespace {

// Stands for the zero probability that an integer without values of its own gives to outliers; in values, as in ONNX
// Runtime.
constexpr double kSmoothing = 1e-4;

double x_log_x(double x) { return x > 0 ? x * std::log(x) : 0; }

// Sums over the first i bins, so that the sum over any run of bins is a difference.
class Sums {
 public:
  explicit Sums(const std::vector<double>& counts) {
    for (const double c : counts) {
      values_.push_back(values_.back() + c);
      logs_.push_back(logs_.back() + x_log_x(c));
      occupied_.push_back(occupied_.back() + (c > 0 ? 1 : 0));
    }
  }
  double values(int64_t begin, int64_t end) const { return difference(values_, begin, end); }
  double logs(int64_t begin, int64_t end) const { return difference(logs_, begin, end); }
  double occupied(int64_t begin, int64_t end) const { return difference(occupied_, begin, end); }

 private:
  static double difference(const std::vector<double>& sums, int64_t begin, int64_t end) {
    return sums[static_cast<size_t>(end)] - sums[static_cast<size_t>(begin)];
  }
  std::vector<double> values_{0}, logs_{0}, occupied_{0};
};

class Divergence {
 public:
  explicit Divergence(const Histogram& h) : grid_(h.grid()), counts_(without_spike(h)), sums_(counts_) {}

  double total() const { return sums_.values(0, grid_.bins); }

  // Of the integers, for the bins [begin, end), from all values: the sum of P log(P / Q) - P + Q, where P are the
  // values with the outliers in the outermost bins, and Q those without, each integer's spread evenly over its bins
  // that hold any.
  double of(int64_t begin, int64_t end, const QParams& p) const {
    const double inside = sums_.values(begin, end);
    if (inside <= 0) return std::numeric_limits<double>::infinity();
    const double below = sums_.values(0, begin), above = sums_.values(end, grid_.bins);
    double p_log_p = sums_.logs(begin, end), p_log_q = 0;
    const auto add_outliers = [&](int64_t bin, double outliers) {
      const double count = counts_[static_cast<size_t>(bin)];
      p_log_p += x_log_x(count + outliers) - x_log_x(count);
      return outliers > 0 && count == 0 ? 1 : 0;
    };
    const int newly_first = add_outliers(begin, below), newly_last = add_outliers(end - 1, above);
    int64_t at = begin;
    for (int32_t q = p.spec.qmin(); q <= p.spec.qmax() && at < end; ++q) {
      const int64_t next = q == p.spec.qmax() ? end : std::clamp(first_bin_above(q, p), at, end);
      if (next == at) continue;
      const double values = sums_.values(at, next);
      const double occupied =
          sums_.occupied(at, next) + (at == begin ? newly_first : 0) + (next == end ? newly_last : 0);
      const double mass = values + (at == begin ? below : 0) + (next == end ? above : 0);
      if (mass > 0) p_log_q += mass * std::log(std::max(values / occupied, kSmoothing));
      at = next;
    }
    return (p_log_p - p_log_q - (total() - inside)) / total();
  }

 private:
  static std::vector<double> without_spike(const Histogram& h) {
    const int64_t bins = h.grid().bins, zero = h.grid().bins_below_zero();
    std::vector<double> counts;
    for (int64_t i = 0; i < bins; ++i) counts.push_back(static_cast<double>(h.count(i)));
    const auto at = [&](int64_t i) { return i < 0 || i >= bins ? 0 : counts[static_cast<size_t>(i)]; };
    counts[static_cast<size_t>(zero)] = std::min(at(zero), std::max(at(zero - 1), at(zero + 1)));
    return counts;
  }

  // The first bin whose middle quantizes to more than q.
  int64_t first_bin_above(int32_t q, const QParams& p) const {
    const double middle = (q - p.zero_point[0] + 0.5) * double{p.scale[0]} / grid_.width();
    return static_cast<int64_t>(std::ceil(middle - 0.5)) + grid_.bins_below_zero();
  }

  BinGrid grid_;
  std::vector<double> counts_;
  Sums sums_;
};

}  // namespace

ClipRange entropy_range(const Histogram& h, const QuantizationSpec& spec) {
  const ClipRange whole{std::min(h.min(), 0.0f), std::max(h.max(), 0.0f)};
  const Divergence divergence(h);
  if (divergence.total() == 0) return whole;
  const BinGrid& grid = h.grid();
  const int64_t below = grid.bins_below_zero(), above = grid.bins - below;
  const int64_t integers = spec.qmax() - spec.qmin() + 1;
  ClipRange best = whole;
  double least = std::numeric_limits<double>::infinity();
  for (int64_t t = std::max(below, above); t > 0; --t) {
    const int64_t begin = below - std::min(below, t), end = below + std::min(above, t);
    if (end - begin < integers) break;
    const ClipRange range{static_cast<float>(std::max<double>(grid.edge(begin), whole.low)),
                          static_cast<float>(std::min<double>(grid.edge(end), whole.high))};
    const double d = divergence.of(begin, end, choose_qparams(range.low, range.high, spec));
    if (!(d < least - 1e-9)) continue;
    least = d;
    best = range;
  }
  return best;
}

}  // namespace thimble::quant
