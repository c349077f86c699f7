#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <thimble/quant/observers/clipping.h>

namespace thimble::quant {

namespace {

double cube(double v) { return v * v * v; }

// Of values spread evenly over [from, to], in units of the parts of a range of `parts`: the integral of the squared
// distance to the middle of the nearest part.
double squared_distance(double from, double to, double parts) {
  const auto integral = [parts](double v) {
    const double part = std::clamp(std::floor(v), 0.0, parts - 1);
    return part / 12 + cube(v - part - 0.5) / 3;
  };
  return integral(to) - integral(from);
}

constexpr int64_t kBins = 2048;  // torch's default

// Counts of kBins equal parts of [min, max], as torch has them, of values spread evenly over each bin.
std::vector<double> equal_parts(const Histogram& h) {
  std::vector<double> parts(kBins);
  const double min = h.min(), width = (double{h.max()} - min) / kBins;
  for (int64_t i = 0; i < h.grid().bins; ++i) {
    const auto count = static_cast<double>(h.count(i));
    const double from = std::clamp<double>((h.grid().edge(i) - min) / width, 0, kBins);
    const double to = std::clamp<double>((h.grid().edge(i + 1) - min) / width, 0, kBins);
    auto part = static_cast<int64_t>(from);
    if (part == kBins) parts.back() += count;  // max alone, at the edge of its bin
    for (; static_cast<double>(part) < to; ++part) {
      const double begin = std::max(from, static_cast<double>(part)), end = std::min(to, static_cast<double>(part + 1));
      parts[static_cast<size_t>(part)] += count * (end - begin) / (to - from);
    }
  }
  return parts;
}

// The names are torch's: HistogramObserver._non_linear_param_search.
class NonLinearParamSearch {
 public:
  NonLinearParamSearch(const Histogram& h, double parts) : h_(h), parts_(parts), counts_(equal_parts(h)) {
    double sum = 0;
    for (const double count : counts_) c_sum_.push_back(sum += count);
  }

  ClipRange run() {
    constexpr double kStepSize = 1e-5;
    const double total = c_sum_.back();
    double alpha = 0, beta = 1, norm_min = std::numeric_limits<double>::infinity();
    while (alpha < beta) {
      const double next_alpha = alpha + kStepSize, next_beta = beta - kStepSize;
      int64_t l = start_bin_, r = end_bin_;
      while (l < end_bin_ && c_sum(l) < next_alpha * total) ++l;
      while (r > start_bin_ && c_sum(r) > next_beta * total) --r;
      int64_t next_start = start_bin_, next_end = end_bin_;
      if (l - start_bin_ > end_bin_ - r) {
        next_start = l;
        alpha = next_alpha;
      } else {
        next_end = r;
        beta = next_beta;
      }
      if (next_start == start_bin_ && next_end == end_bin_) continue;
      const double norm = quantization_error(next_start, next_end);
      if (norm > norm_min) break;
      norm_min = norm;
      start_bin_ = next_start;
      end_bin_ = next_end;
    }
    const double min = h_.min(), width = (double{h_.max()} - min) / kBins;
    return {static_cast<float>(min + static_cast<double>(start_bin_) * width),
            static_cast<float>(min + static_cast<double>(end_bin_ + 1) * width)};
  }

 private:
  double c_sum(int64_t bin) const { return c_sum_[static_cast<size_t>(bin)]; }

  // In squared widths of a bin, but for a constant factor.
  double quantization_error(int64_t start, int64_t end) const {
    const double part = static_cast<double>(end - start + 1) / parts_;
    double sum = 0;
    double from = -static_cast<double>(start);
    for (const double count : counts_) {
      sum += count * squared_distance(from / part, (from + 1) / part, parts_);
      ++from;
    }
    return sum * cube(part);
  }

  const Histogram& h_;
  double parts_;
  std::vector<double> counts_, c_sum_;
  int64_t start_bin_ = 0, end_bin_ = kBins - 1;
};

}  // namespace

ClipRange norm_range(const Histogram& h, const QuantizationSpec& spec) {
  return NonLinearParamSearch(h, spec.qmax() - spec.qmin() + 1).run();
}

}  // namespace thimble::quant
