#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

#include <thimble/core/error.h>
#include <thimble/core/kernels/reduce/histogram.h>
#include <thimble/quant/observers/histogram.h>

namespace thimble::quant {

namespace {

constexpr float kInfinite = std::numeric_limits<float>::infinity();
// Widths are normal numbers, and so are their reciprocals.
constexpr int kMinExponent = std::numeric_limits<float>::min_exponent - 1;

int64_t floor_of(float v, int exponent) { return static_cast<int64_t>(std::floor(std::ldexp(double{v}, -exponent))); }

}  // namespace

BinGrid BinGrid::covering(float min, float max) {
  const float low = std::min(min, 0.0f), high = std::max(max, 0.0f);
  const float magnitude = std::max(-low, high);
  // One less would take more than kMaxBins for the larger side alone.
  int exponent = magnitude == 0 ? kMinExponent : std::ilogb(magnitude) + 1 - std::countr_zero(uint64_t{kMaxBins});
  exponent = std::max(exponent, kMinExponent);
  for (;; ++exponent) {
    const BinGrid grid{exponent, floor_of(low, exponent), floor_of(high, exponent) - floor_of(low, exponent) + 1};
    if (grid.bins <= kMaxBins) return grid;
  }
}

double BinGrid::width() const { return std::ldexp(1.0, exponent); }

int64_t BinGrid::bin_of(float v) const { return floor_of(v, exponent) - first; }

Histogram::Histogram()
    : min_(kInfinite), max_(-kInfinite), counts_(NDArray::zeros({BinGrid::kMaxBins}, DType::int64)) {}

Histogram::Histogram(float min, float max, NDArray counts) : min_(min), max_(max), counts_(std::move(counts)) {
  check<ShapeError>(counts_.shape() == Shape{BinGrid::kMaxBins}, "histogram: counts of shape ", counts_.shape(),
                    " are not [", BinGrid::kMaxBins, "]");
  const bool nothing = min == kInfinite && max == -kInfinite;
  check<ValueError>(nothing || (std::isfinite(min) && std::isfinite(max) && min <= max), "histogram: [", min, ", ", max,
                    "] is not a range");
  if (!nothing) grid_ = BinGrid::covering(min, max);
}

void Histogram::add(const NDArray& x, float min, float max) {
  const float low = std::min(min_, min), high = std::max(max_, max);
  const BinGrid grid = BinGrid::covering(low, high);
  if (!empty()) widen(grid);
  min_ = low;
  max_ = high;
  grid_ = grid;
  const NDArray values = x.contiguous();
  kernels::count_values(
      values.data<float>(), values.numel(),
      {static_cast<float>(grid.width()), static_cast<int32_t>(grid.first), static_cast<int32_t>(grid.bins)},
      counts_.data<int64_t>());
}

void Histogram::widen(const BinGrid& grid) {
  if (grid.exponent == grid_.exponent && grid.first == grid_.first) return;
  const int merged = std::min(grid.exponent - grid_.exponent, 63);  // each new bin is 2^merged old ones
  int64_t* counts = counts_.data<int64_t>();
  std::array<int64_t, BinGrid::kMaxBins> old;
  std::copy_n(counts, BinGrid::kMaxBins, old.begin());
  counts_.fill(0);
  for (int64_t i = 0; i < grid_.bins; ++i) counts[((grid_.first + i) >> merged) - grid.first] += old[i];
}

int64_t Histogram::total() const {
  const int64_t* counts = counts_.data<int64_t>();
  return std::accumulate(counts, counts + BinGrid::kMaxBins, int64_t{0});
}

}  // namespace thimble::quant
