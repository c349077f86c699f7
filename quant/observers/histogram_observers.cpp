#include <algorithm>
#include <limits>

#include <thimble/quant/observers/histogram_observers.h>

namespace thimble::quant {

namespace {

template <typename T>
std::shared_ptr<nn::Module> from_attributes(const Attributes& a) {
  return std::make_shared<T>(QuantizationSpec::from_attributes(a));
}

const nn::LayerRegistration histogram_observers_registrations[] = {
    {"PercentileObserver",
     [](const Attributes& a) {
       return std::make_shared<PercentileObserver>(QuantizationSpec::from_attributes(a), a.get<double>("percentile"));
     }},
    {"MSEObserver", from_attributes<MSEObserver>},
    {"EntropyObserver", from_attributes<EntropyObserver>},
    {"HistogramObserver", from_attributes<HistogramObserver>}};

}  // namespace

DistributionObserver::DistributionObserver(const QuantizationSpec& spec, const char* type) : Observer(spec) {
  check<ValueError>(!spec.axis, type, ": it observes per tensor, the spec is per channel");
  const Histogram empty;
  min_ = register_buffer("min", NDArray::full({}, double{empty.min()}));
  max_ = register_buffer("max", NDArray::full({}, double{empty.max()}));
  counts_ = register_buffer("counts", empty.counts());
}

Histogram DistributionObserver::histogram() const { return {min_.item<float>(), max_.item<float>(), counts_.data()}; }

void DistributionObserver::observe(const NDArray& x, const Range& range) {
  Histogram h(min_.item<float>(), max_.item<float>(), counts_.mutable_data());
  h.add(x, range.min[0], range.max[0]);
  min_.mutable_data().fill(double{h.min()});
  max_.mutable_data().fill(double{h.max()});
}

QParams DistributionObserver::qparams() const {
  const Histogram h = histogram();
  check_seen(!h.empty());
  const ClipRange range = h.min() < h.max() ? clip_range(h) : ClipRange{h.min(), h.max()};
  return choose_qparams(range.low, range.high, spec());
}

void DistributionObserver::state_changed() {
  const Histogram h = histogram();  // throws for a range that is none
  // So many that no sum overflows, and more than anything can count.
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max() / BinGrid::kMaxBins / 2;
  const int64_t* counts = h.counts().data<int64_t>();
  for (int64_t i = 0; i < BinGrid::kMaxBins; ++i)
    check<ValueError>(counts[i] >= 0 && counts[i] <= kMost && (counts[i] == 0 || (!h.empty() && i < h.grid().bins)),
                      type(), ": ", counts[i], " values in bin ", i, " of ", h.empty() ? 0 : h.grid().bins);
  check<ValueError>(h.empty() || h.total() > 0, type(), ": a histogram of a range, but of no values");
}

PercentileObserver::PercentileObserver(const QuantizationSpec& spec, double percentile)
    : DistributionObserver(spec, "PercentileObserver"), percentile_(percentile) {
  check<ValueError>(percentile > 0 && percentile <= 100, "PercentileObserver: percentile ", percentile,
                    " is not in (0, 100]");
}

Attributes PercentileObserver::attributes() const {
  Attributes a = Observer::attributes();
  a.set("percentile", percentile_);
  return a;
}

ClipRange PercentileObserver::clip_range(const Histogram& h) const { return percentile_range(h, spec(), percentile_); }

}  // namespace thimble::quant
