#include <algorithm>
#include <cmath>
#include <map>
#include <random>

#include <gtest/gtest.h>

#include "tests/quant/observers/observer_streams.h"
#include "tests/quant/reference.h"
#include <thimble/quant/observers/histogram_observers.h>

namespace thimble::quant {
namespace {

Histogram histogram_of(const std::vector<float>& values) {
  const auto [min, max] = std::minmax_element(values.begin(), values.end());
  Histogram h;
  h.add(NDArray::from_vector(values), *min, *max);
  return h;
}

double squared_error(const std::vector<float>& values, const QParams& p) {
  const NDArray x = NDArray::from_vector(values);
  const auto back = dequantize(quantize(x, p), p).to_vector<double>();
  double sum = 0;
  for (size_t i = 0; i < back.size(); ++i) sum += std::pow(back[i] - double{values[i]}, 2);
  return sum;
}

// Laplace distributed, with the deviation sqrt(2).
std::vector<float> laplace(std::mt19937& rng, size_t n) {
  std::exponential_distribution<float> exponential;
  std::vector<float> values(n);
  for (float& v : values) v = rng() % 2 ? exponential(rng) : -exponential(rng);
  return values;
}

double share_within(const std::vector<float>& values, const ClipRange& range) {
  const auto inside =
      std::count_if(values.begin(), values.end(), [&](float v) { return v >= range.low && v <= range.high; });
  return static_cast<double>(inside) / static_cast<double>(values.size());
}

const std::vector<std::string> kKinds{"uniform", "bell", "peaked", "tailed", "relu_bell", "relu_tailed"};

TEST(PercentileRange, OfUniformValues) {
  const Histogram h = histogram_of(stream_batch("uniform", 1, 100000, -2, 6));
  const ClipRange both = percentile_range(h, {}, 90);
  EXPECT_NEAR(both.low, -1.8, 0.02);  // half of the values lie evenly on each side of 0
  EXPECT_NEAR(both.high, 5.4, 0.06);
}

TEST(PercentileRange, KeepsTheShare) {
  for (const std::string& kind : kKinds)
    for (const double percentile : {50.0, 90.0, 99.0, 99.9})
      for (const QScheme scheme : {QScheme::affine, QScheme::symmetric}) {
        SCOPED_TRACE(str(kind, ' ', percentile, ' ', name(scheme)));
        const std::vector<float> values = stream_batch(kind, 2, 50000, kind.starts_with("relu_") ? 0 : -3, 5);
        ClipRange range = percentile_range(histogram_of(values), {.scheme = scheme}, percentile);
        if (scheme == QScheme::symmetric) {
          range.high = std::max(-range.low, range.high);
          range.low = -range.high;
        }
        // A bin of the densest holds a hundredth of the peaked values; zeros after ReLU are half of all.
        if (!kind.starts_with("relu_") || percentile > 60) {
          EXPECT_NEAR(share_within(values, range), percentile / 100, kind == "peaked" ? 0.02 : 0.002);
        }
        EXPECT_GE(share_within(values, range), percentile / 100 - 0.002);
      }
}

TEST(PercentileRange, CutsTheWholeShareAtTheOnlyTail) {
  std::vector<float> values = stream_batch("uniform", 3, 100000, 0, 10);
  for (float& v : values) v = std::abs(v);
  const ClipRange positive = percentile_range(histogram_of(values), {}, 95);
  EXPECT_EQ(std::min(positive.low, 0.0f), 0);
  EXPECT_NEAR(share_within(values, {0, positive.high}), 0.95, 0.001);
  for (float& v : values) v = -v;
  const ClipRange negative = percentile_range(histogram_of(values), {}, 95);
  EXPECT_EQ(negative.low, -positive.high);
  EXPECT_EQ(std::max(negative.high, 0.0f), 0);
}

TEST(PercentileRange, AHundredPercentIsEverything) {
  for (const std::string& kind : kKinds) {
    const Histogram h = histogram_of(stream_batch(kind, 4, 1000, -3, 5));
    const ClipRange range = percentile_range(h, {}, 100);
    EXPECT_EQ(range.low, h.min());
    EXPECT_EQ(range.high, h.max());
  }
  EXPECT_THROW(percentile_range(histogram_of({1, 2}), {}, 0), ValueError);
  EXPECT_THROW(percentile_range(histogram_of({1, 2}), {}, 100.5), ValueError);
  EXPECT_THROW(percentile_range(histogram_of({1, 2}), {}, std::nan("")), ValueError);
}

TEST(PercentileRange, IsNeverEmpty) {
  std::vector<float> two_clusters(500, -3.0f);
  two_clusters.resize(1000, 5.0f);
  for (const std::vector<float>& values : {two_clusters, stream_batch("bell", 9, 1000, -3, 5)})
    for (const double percentile : {1e-300, 1e-20, 1e-14, 1e-6, 0.1})
      for (const QScheme scheme : {QScheme::affine, QScheme::symmetric}) {
        SCOPED_TRACE(str(percentile, ' ', name(scheme)));
        const QuantizationSpec spec{.scheme = scheme};
        const ClipRange range = percentile_range(histogram_of(values), spec, percentile);
        EXPECT_LE(range.low, range.high);
        EXPECT_NO_THROW(choose_qparams(range.low, range.high, spec));
      }
}

TEST(PercentileRange, SymmetricSchemesCutMagnitudes) {
  std::vector<float> values(1000, 1.0f);
  values.push_back(-50);
  values.push_back(2);
  const ClipRange range = percentile_range(histogram_of(values), QuantizationSpec{.scheme = QScheme::symmetric}, 99.9);
  EXPECT_LE(std::max(-range.low, range.high), 2.02f);
}

TEST(SquaredError, OfAHistogramIsThatOfItsValues) {
  for (const std::string& kind : kKinds)
    for (const QuantizationSpec& spec : per_tensor_specs()) {
      if (kind.starts_with("relu_")) continue;  // zeros have no error; a histogram takes them for values near 0
      SCOPED_TRACE(str(kind, ' ', spec.to_attributes()));
      const std::vector<float> values = stream_batch(kind, 5, 20000, -3, 5);
      for (const float factor : {1.0f, 0.7f, 0.3f}) {
        const QParams p = choose_qparams(-3 * factor, 5 * factor, spec);
        const double exact = squared_error(values, p);
        EXPECT_NEAR(squared_error(histogram_of(values), p), exact, 0.04 * exact) << factor;
      }
    }
}

TEST(MSERange, IsNeverWorseThanTheWholeRange) {
  for (const std::string& kind : kKinds)
    for (const QuantizationSpec& spec : per_tensor_specs())
      for (const float low : {0.0f, -1.0f, -5.0f}) {
        SCOPED_TRACE(str(kind, ' ', low, ' ', spec.to_attributes()));
        const std::vector<float> values = stream_batch(kind, 6, 5000, low, 5);
        const Histogram h = histogram_of(values);
        const ClipRange range = mse_range(h, spec);
        const QParams chosen = choose_qparams(range.low, range.high, spec),
                      whole = choose_qparams(h.min(), h.max(), spec);
        EXPECT_LE(squared_error(h, chosen), squared_error(h, whole));
        EXPECT_LE(squared_error(values, chosen), squared_error(values, whole) * 1.01);
        EXPECT_GE(range.low, std::min(h.min(), 0.0f));
        EXPECT_LE(range.high, std::max(h.max(), 0.0f));
      }
}

TEST(MSERange, IsBetterThanAnyOfAGrid) {
  for (const std::string kind : {"bell", "tailed", "relu_tailed"})
    for (const int bits : {3, 4, 8}) {
      SCOPED_TRACE(str(kind, ' ', bits));
      const QuantizationSpec spec{.bits = bits};
      const Histogram h = histogram_of(stream_batch(kind, 7, 20000, -4, 8));
      const ClipRange range = mse_range(h, spec);
      const double best = squared_error(h, choose_qparams(range.low, range.high, spec));
      for (int i = 1; i <= 25; ++i)
        for (int j = 1; j <= 25; ++j) {
          const QParams p =
              choose_qparams(h.min() * static_cast<float>(i) / 25, h.max() * static_cast<float>(j) / 25, spec);
          // The zero point is rounded, which makes the error next to convex in the two ends, not wholly so.
          EXPECT_LE(best, squared_error(h, p) * 1.03) << i << ' ' << j;
        }
    }
}

TEST(MSERange, ClipsGaussiansWhereTheoryDoes) {
  // Max, "Quantizing for minimum distortion", 1960, table II: for 7 and 15 equally spaced integers, 3 and 7 steps.
  std::mt19937 rng(8);
  std::normal_distribution<float> normal;
  std::vector<float> values(200000);
  for (float& v : values) v = normal(rng);
  const Histogram h = histogram_of(values);
  for (const auto& [bits, clipping] : {std::pair(2, 1.224), std::pair(3, 1.952), std::pair(4, 2.474)}) {
    const ClipRange range = mse_range(h, {.bits = bits, .is_signed = true, .scheme = QScheme::symmetric});
    EXPECT_NEAR(std::max(-range.low, range.high), clipping, 0.04) << bits;
  }
}

// The divergence of entropy_range() for t bins on each side of 0, as plainly as possible.
double divergence(const std::vector<double>& counts, const BinGrid& grid, int64_t t, const QParams& p) {
  const int64_t zero = grid.bins_below_zero(), begin = std::max<int64_t>(zero - t, 0),
                end = std::min(zero + t, grid.bins);
  std::vector<double> values(static_cast<size_t>(end - begin));
  std::map<int, double> mass, occupied;
  double total = 0, inside = 0, result = 0;
  for (int64_t i = 0; i < grid.bins; ++i) {
    const double count = counts[static_cast<size_t>(i)];
    values[static_cast<size_t>(std::clamp(i, begin, end - 1) - begin)] += count;
    total += count;
    if (i >= begin && i < end) inside += count;
  }
  const auto integer = [&](int64_t i) {
    const double middle = (grid.edge(i) + grid.edge(i + 1)) / 2;
    return static_cast<int>(std::clamp<double>(std::nearbyint(middle / double{p.scale[0]}) + p.zero_point[0],
                                               p.spec.qmin(), p.spec.qmax()));
  };
  for (int64_t i = begin; i < end; ++i) {
    mass[integer(i)] += counts[static_cast<size_t>(i)];
    occupied[integer(i)] += values[static_cast<size_t>(i - begin)] > 0 ? 1 : 0;
  }
  for (int64_t i = begin; i < end; ++i) {
    const double v = values[static_cast<size_t>(i - begin)];
    if (v > 0) result += v * std::log(v / std::max(mass[integer(i)] / occupied[integer(i)], 1e-4));
  }
  return (result - total + inside) / total;
}

TEST(EntropyRange, DivergesLeastOfAll) {
  for (const std::string kind : {"tailed", "relu_tailed"})
    for (const QuantizationSpec& spec : {QuantizationSpec{}, QuantizationSpec{.bits = 5, .is_signed = true}}) {
      SCOPED_TRACE(str(kind, ' ', spec.to_attributes()));
      const Histogram h = histogram_of(stream_batch(kind, 16, 100000, kind == "tailed" ? -3 : 0, 5));
      const BinGrid& grid = h.grid();
      std::vector<double> counts;
      for (int64_t i = 0; i < grid.bins; ++i) counts.push_back(static_cast<double>(h.count(i)));
      const auto zero = static_cast<size_t>(grid.bins_below_zero());
      counts[zero] = std::min(counts[zero], std::max(zero > 0 ? counts[zero - 1] : 0, counts[zero + 1]));
      const auto at = [&](const ClipRange& r) {
        const double reach = std::max(-r.low, r.high) / grid.width();
        return divergence(counts, grid, static_cast<int64_t>(std::ceil(reach)), choose_qparams(r.low, r.high, spec));
      };
      const ClipRange best = entropy_range(h, spec);
      EXPECT_LT(best.high, 4.9f) << "clips nothing, so this says little";
      const double least = at(best);
      for (int64_t t = 300; t < 4000; t += 41) {
        const auto limit = static_cast<float>(static_cast<double>(t) * grid.width());
        const ClipRange range{std::max(h.min(), -limit), std::min(h.max(), limit)};
        // A bin whose middle lies between two integers may count for either.
        EXPECT_LE(least, at(range) + 1e-4) << t;
      }
    }
}

TEST(EntropyRange, ClipsAnOutlier) {
  std::mt19937 rng(9);
  std::vector<float> values = laplace(rng, 100000);
  const float usual = *std::max_element(values.begin(), values.end());
  values.push_back(100);
  for (const QScheme scheme : {QScheme::affine, QScheme::symmetric})
    for (const bool is_signed : {false, true}) {
      const ClipRange range = entropy_range(histogram_of(values), {.is_signed = is_signed, .scheme = scheme});
      EXPECT_LT(range.high, 1.5f * usual);
      EXPECT_GT(range.high, 2.0f);
    }
}

TEST(EntropyRange, ClipsAnOutlierAfterReLU) {
  std::mt19937 rng(10);
  std::vector<float> values = laplace(rng, 100000);
  for (float& v : values) v = std::max(v, 0.0f);
  const float usual = *std::max_element(values.begin(), values.end());
  values.push_back(100);
  const ClipRange range = entropy_range(histogram_of(values), {});
  EXPECT_LT(range.high, 1.5f * usual);
  EXPECT_GT(range.high, 2.0f);
}

TEST(EntropyRange, TheNumberOfZerosDoesNotMatter) {
  std::mt19937 rng(11);
  std::vector<float> values = laplace(rng, 50000);
  for (float& v : values) v = std::abs(v);
  const ClipRange few = entropy_range(histogram_of(values), {});
  values.insert(values.end(), 500000, 0.0f);
  const ClipRange many = entropy_range(histogram_of(values), {});
  EXPECT_NEAR(many.high, few.high, 0.05 * few.high);
}

TEST(EntropyRange, DoesNotClipFewValuesNorEvenOnes) {
  std::mt19937 rng(12);
  std::normal_distribution<float> normal;
  for (int n = 2; n < 60; n += 7) {
    std::vector<float> values(static_cast<size_t>(n));
    for (float& v : values) v = normal(rng);
    const Histogram h = histogram_of(values);
    const ClipRange range = entropy_range(h, {});
    EXPECT_EQ(range.low, std::min(h.min(), 0.0f)) << n;
    EXPECT_EQ(range.high, std::max(h.max(), 0.0f)) << n;
  }
  const Histogram even = histogram_of(stream_batch("uniform", 13, 200000, 0, 4));
  EXPECT_GT(entropy_range(even, {}).high, 3.8f);
}

TEST(EntropyRange, HasAnswersForEveryKindOfIntegers) {
  for (const std::string& kind : kKinds)
    for (const QuantizationSpec& spec : per_tensor_specs()) {
      const Histogram h = histogram_of(stream_batch(kind, 14, 3000, -3, 5));
      const ClipRange range = entropy_range(h, spec);
      EXPECT_GE(range.low, h.min());
      EXPECT_LE(range.high, h.max());
      EXPECT_LT(range.low, range.high);
    }
}

TEST(NormRange, LiesWithinTheValues) {
  for (const std::string& kind : kKinds)
    for (const QuantizationSpec& spec : per_tensor_specs()) {
      const Histogram h = histogram_of(stream_batch(kind, 15, 20000, -3, 5));
      const ClipRange range = norm_range(h, spec);
      EXPECT_GE(range.low, h.min());
      EXPECT_LE(range.high, h.max() * 1.000001f);
      EXPECT_LT(range.low, range.high);
    }
}

}  // namespace
}  // namespace thimble::quant
