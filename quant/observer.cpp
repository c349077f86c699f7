#include <algorithm>
#include <limits>

#include <thimble/quant/observer.h>

namespace thimble::quant {

namespace {
const nn::LayerRegistration registration{
    "MinMaxObserver",
    [](const Attributes& a) { return std::make_shared<MinMaxObserver>(QuantizationSpec::from_attributes(a)); }};
}

Tensor Observer::forward(const Tensor& x) {
  observe(x.data());
  return x;
}

MinMaxObserver::MinMaxObserver(const QuantizationSpec& spec)
    : Observer(spec),
      min_(register_buffer("min", Tensor::scalar(std::numeric_limits<double>::infinity()))),
      max_(register_buffer("max", Tensor::scalar(-std::numeric_limits<double>::infinity()))) {
  check<ValueError>(!spec.axis, "MinMaxObserver: it observes per tensor, the spec is per channel");
}

void MinMaxObserver::observe(const NDArray& x) {
  if (x.numel() == 0) return;
  const Range range = min_max(x, spec());
  float &low = *min_.mutable_data().data<float>(), &high = *max_.mutable_data().data<float>();
  low = std::min(low, range.min[0]);
  high = std::max(high, range.max[0]);
}

QParams MinMaxObserver::qparams() const {
  const auto low = min_.item<float>(), high = max_.item<float>();
  check<ValueError>(low <= high, "observer '", name(),
                    "' has seen no values: run the prepared graph on calibration data");
  return choose_qparams(low, high, spec());
}

std::shared_ptr<Observer> make_observer(const std::string& name, const QuantizationSpec& spec) {
  if (name == "minmax") return std::make_shared<MinMaxObserver>(spec);
  throw ValueError(str("unknown observer '", name, "'; there is: minmax"));
}

}  // namespace thimble::quant
