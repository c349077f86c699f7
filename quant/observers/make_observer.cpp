// Observers by name: the one place that knows all of them.
#include <thimble/quant/observers/cross_entropy_observer.h>
#include <thimble/quant/observers/histogram_observers.h>

namespace thimble::quant {

namespace {

struct NamedObserver {
  const char* name;
  std::shared_ptr<Observer> (*make)(const QuantizationSpec&, const ObserverOptions&);
};

template <typename T>
std::shared_ptr<Observer> make(const QuantizationSpec& spec, const ObserverOptions&) {
  return std::make_shared<T>(spec);
}

const NamedObserver observers[] = {
    {"minmax",
     [](const QuantizationSpec& spec, const ObserverOptions& o) -> std::shared_ptr<Observer> {
       return std::make_shared<MinMaxObserver>(spec, o.channels);
     }},
    {"moving-average",
     [](const QuantizationSpec& spec, const ObserverOptions& o) -> std::shared_ptr<Observer> {
       return std::make_shared<MovingAverageMinMaxObserver>(spec, o.averaging_constant, o.channels);
     }},
    {"percentile",
     [](const QuantizationSpec& spec, const ObserverOptions& o) -> std::shared_ptr<Observer> {
       return std::make_shared<PercentileObserver>(spec, o.percentile);
     }},
    {"mse", make<MSEObserver>},
    {"entropy", make<EntropyObserver>},
    {"cross-entropy", make<CrossEntropyObserver>},
    {"histogram", make<HistogramObserver>},
};

}  // namespace

std::vector<std::string> observer_names() {
  std::vector<std::string> names;
  for (const NamedObserver& o : observers) names.emplace_back(o.name);
  return names;
}

std::shared_ptr<Observer> make_observer(const std::string& name, const QuantizationSpec& spec,
                                        const ObserverOptions& options) {
  std::string known;
  for (const NamedObserver& o : observers) {
    if (name == o.name) return o.make(spec, options);
    known += known.empty() ? o.name : str(", ", o.name);
  }
  throw ValueError(str("unknown observer '", name, "'; there are: ", known));
}

}  // namespace thimble::quant
