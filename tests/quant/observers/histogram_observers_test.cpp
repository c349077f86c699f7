#include <limits>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/quant/observers/observer_streams.h"
#include <thimble/quant/observers/histogram_observers.h>

namespace thimble::quant {
namespace {

const char* const kNames[] = {"percentile", "mse", "entropy", "histogram"};

std::shared_ptr<DistributionObserver> make(const std::string& name, const ObserverOptions& options = {}) {
  return std::dynamic_pointer_cast<DistributionObserver>(make_observer(name, {}, options));
}

TEST(DistributionObserver, EachChoosesItsRange) {
  const std::vector<float> values = stream_batch("tailed", 1, 50000, -4, 8);
  for (const char* name : kNames) {
    const auto observer = make(name, {.percentile = 98});
    (*observer)(Tensor(NDArray::from_vector(values)));
    const Histogram h = observer->histogram();
    const std::string n = name;
    const ClipRange range = n == "percentile" ? percentile_range(h, {}, 98)
                            : n == "mse"      ? mse_range(h, {})
                            : n == "entropy"  ? entropy_range(h, {})
                                              : norm_range(h, {});
    EXPECT_EQ(observer->qparams().scale, choose_qparams(range.low, range.high).scale) << name;
    EXPECT_LT(range.high, 8) << name << " clips nothing, so this says little";
  }
}

TEST(DistributionObserver, OrderAndDivisionOfBatchesDoNotMatter) {
  const NDArray x = NDArray::from_vector(stream_batch("tailed", 2, 6000, -4, 8), {60, 100});
  for (const char* name : kNames) {
    const auto at_once = make(name), by_rows = make(name), backwards = make(name);
    (*at_once)(Tensor(x));
    for (int64_t r = 0; r < 60; ++r) {
      (*by_rows)(Tensor(x.slice(0, r, r + 1)));
      (*backwards)(Tensor(x.slice(0, 59 - r, 60 - r)));
    }
    EXPECT_EQ(by_rows->qparams().scale, at_once->qparams().scale) << name;
    EXPECT_EQ(backwards->qparams().scale, at_once->qparams().scale) << name;
  }
}

TEST(DistributionObserver, RefusesAStateThatIsNone) {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  const auto load = [](double min, double max, int64_t bin, int64_t count) {
    NDArray counts = NDArray::zeros({BinGrid::kMaxBins}, DType::int64);
    counts.data<int64_t>()[bin] = count;
    make("mse")->load_state({{"min", NDArray::full({}, min)}, {"max", NDArray::full({}, max)}, {"counts", counts}});
  };
  EXPECT_NO_THROW(load(0, 1, 5, 7));
  EXPECT_NO_THROW(load(kInf, -kInf, 5, 0));
  EXPECT_THROW(load(kInf, -kInf, 5, 1), ValueError);
  EXPECT_THROW(load(0, 1, 5, -7), ValueError);
  EXPECT_THROW(load(0, 1, 5, int64_t{1} << 62), ValueError);
  EXPECT_THROW(load(0, 1, BinGrid::kMaxBins - 1, 7), ValueError);
  EXPECT_THROW(load(0, 1, 5, 0), ValueError);
  EXPECT_THROW(load(1, 0, 5, 7), ValueError);
  EXPECT_THROW(load(std::numeric_limits<double>::quiet_NaN(), 0, 5, 7), ValueError);
}

TEST(PercentileObserver, RefusesWhatIsNoPercentage) {
  for (const double percentile : {0.0, -1.0, 100.1, std::numeric_limits<double>::quiet_NaN()})
    EXPECT_THROW(PercentileObserver({}, percentile), ValueError) << percentile;
}

}  // namespace
}  // namespace thimble::quant
