#include <algorithm>
#include <cmath>

#include <thimble/quant/observers/range_search.h>

namespace thimble::quant {

namespace {

constexpr int kFinest = 1000;  // factors are multiples of 1 / kFinest
constexpr int kCoarse = 10;    // in these units
constexpr int kRounds = 10;    // losses are next to convex in each end: a few rounds suffice

enum class Ends { low, high, both };

class Search {
 public:
  Search(ClipRange range, const QuantizationSpec& spec, const std::function<double(const QParams&)>& loss)
      : range_{std::min(range.low, 0.0f), std::max(range.high, 0.0f)}, spec_(spec), loss_(loss) {
    spec_.axis = std::nullopt;
    best_loss_ = loss_at(best_);
  }

  ClipRange run(RangeSearch search) {
    scan(Ends::both, kCoarse, kFinest, kCoarse);
    const bool both_ends = search == RangeSearch::both_ends && spec_.scheme == QScheme::affine;
    const auto repeat = [](auto&& step) {
      for (int round = 0; round < kRounds && step(); ++round) continue;
    };
    if (both_ends)
      repeat([&] {
        const bool low = scan(Ends::low, kCoarse, kFinest, kCoarse);
        return scan(Ends::high, kCoarse, kFinest, kCoarse) || low;
      });
    repeat([&] {
      const bool low = refine(both_ends ? Ends::low : Ends::both);
      return (both_ends && refine(Ends::high)) || low;
    });
    return at(best_);
  }

 private:
  // Multiples of 1 / kFinest by which the two ends are multiplied.
  struct Factors {
    int low = kFinest, high = kFinest;
  };

  ClipRange at(const Factors& f) const {
    return {range_.low * (static_cast<float>(f.low) / kFinest), range_.high * (static_cast<float>(f.high) / kFinest)};
  }
  double loss_at(const Factors& f) const {
    const ClipRange r = at(f);
    return loss_(choose_qparams(r.low, r.high, spec_));
  }

  // Whether a factor for these ends, the others left as they are, is better.
  bool scan(Ends ends, int from, int to, int step) {
    if ((ends == Ends::low && range_.low == 0) || (ends == Ends::high && range_.high == 0)) return false;
    const Factors around = best_;
    bool better = false;
    for (int factor = to; factor >= from; factor -= step) {
      const Factors f{ends == Ends::high ? around.low : factor, ends == Ends::low ? around.high : factor};
      const double loss = loss_at(f);
      if (!(loss < best_loss_)) continue;
      best_loss_ = loss;
      best_ = f;
      better = true;
    }
    return better;
  }
  bool refine(Ends ends) {
    const int center = ends == Ends::low ? best_.low : best_.high;
    return scan(ends, std::max(1, center - kCoarse), std::min(kFinest, center + kCoarse), 1);
  }

  ClipRange range_;
  QuantizationSpec spec_;
  const std::function<double(const QParams&)>& loss_;
  Factors best_;
  double best_loss_;
};

}  // namespace

ClipRange search_range(ClipRange range, const QuantizationSpec& spec, RangeSearch search,
                       const std::function<double(const QParams&)>& loss) {
  return Search(range, spec, loss).run(search);
}

}  // namespace thimble::quant
