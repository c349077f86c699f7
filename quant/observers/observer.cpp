#include <algorithm>
#include <limits>

#include <thimble/quant/observers/observer.h>

namespace thimble::quant {

namespace {

constexpr double kNothingSeen =
    std::numeric_limits<double>::infinity();  // the least value then; -kNothingSeen the largest

int64_t channels_of(const Attributes& a) { return a.get<int64_t>("channels", 0); }

const nn::LayerRegistration observer_registrations[] = {
    {"MinMaxObserver",
     [](const Attributes& a) {
       return std::make_shared<MinMaxObserver>(QuantizationSpec::from_attributes(a), channels_of(a));
     }},
    {"MovingAverageMinMaxObserver", [](const Attributes& a) {
       return std::make_shared<MovingAverageMinMaxObserver>(QuantizationSpec::from_attributes(a),
                                                            a.get<double>("averaging_constant"), channels_of(a));
     }}};

NDArray range_buffer(const QuantizationSpec& spec, int64_t channels, double value) {
  return NDArray::placeholder(spec.axis ? Shape{channels} : Shape{}, DType::float32, value);
}

float* own_data(Tensor& buffer) {
  NDArray& array = buffer.mutable_data();
  array = array.contiguous();
  return array.data<float>();
}

}  // namespace

Observer::Observer(const QuantizationSpec& spec) : spec_(spec) {
  choose_qparams(0, 0, spec);  // throws
}

Tensor Observer::forward(const Tensor& x) {
  if (x.numel() > 0) observe(x.data(), min_max(x.data(), spec_, type()));
  return x;
}

void Observer::check_seen(bool seen) const {
  check<ValueError>(seen, "observer '", name(), "' has seen no values: run the prepared graph on calibration data");
}

MinMaxObserver::MinMaxObserver(const QuantizationSpec& spec, int64_t channels) : Observer(spec) {
  check<ValueError>(channels == 0 || (channels > 0 && spec.axis), "MinMaxObserver: ", channels, " channels",
                    spec.axis ? "" : " for a spec that is per tensor");
  min_ = register_buffer("min", range_buffer(spec, channels, kNothingSeen));
  max_ = register_buffer("max", range_buffer(spec, channels, -kNothingSeen));
}

Attributes MinMaxObserver::attributes() const {
  Attributes a = Observer::attributes();
  if (min_.numel() > 0 && spec().axis) a.set("channels", min_.numel());
  return a;
}

void MinMaxObserver::observe(const NDArray& x, const Range& range) {
  const auto channels = static_cast<int64_t>(range.min.size());
  if (min_.numel() == 0) {
    min_.mutable_data() = range_buffer(spec(), channels, kNothingSeen);
    max_.mutable_data() = range_buffer(spec(), channels, -kNothingSeen);
  }
  check<ShapeError>(channels == min_.numel(), type(), ": input ", x.shape(), " has ", channels, " channels along axis ",
                    spec().axis.value_or(0), ", expected ", min_.numel());
  float *low = own_data(min_), *high = own_data(max_);
  for (size_t c = 0; c < range.min.size(); ++c) merge(range.min[c], range.max[c], low[c], high[c]);
}

void MinMaxObserver::merge(float batch_min, float batch_max, float& min, float& max) const {
  min = std::min(min, batch_min);
  max = std::max(max, batch_max);
}

QParams MinMaxObserver::qparams() const {
  const auto low = min_.data().to_vector<float>(), high = max_.data().to_vector<float>();
  check_seen(!low.empty() && low[0] <= high[0]);
  return choose_qparams(low, high, spec());
}

MovingAverageMinMaxObserver::MovingAverageMinMaxObserver(const QuantizationSpec& spec, double averaging_constant,
                                                         int64_t channels)
    : MinMaxObserver(spec, channels), averaging_constant_(averaging_constant) {
  check<ValueError>(averaging_constant > 0 && averaging_constant <= 1,
                    "MovingAverageMinMaxObserver: averaging_constant ", averaging_constant, " is not in (0, 1]");
}

Attributes MovingAverageMinMaxObserver::attributes() const {
  Attributes a = MinMaxObserver::attributes();
  a.set("averaging_constant", averaging_constant_);
  return a;
}

void MovingAverageMinMaxObserver::merge(float batch_min, float batch_max, float& min, float& max) const {
  if (min > max) return MinMaxObserver::merge(batch_min, batch_max, min, max);
  // In double: the difference of two floats may leave float32.
  const auto average = [this](double so_far, double of_batch) {
    return static_cast<float>(so_far + averaging_constant_ * (of_batch - so_far));
  };
  min = average(min, batch_min);
  max = average(max, batch_max);
}

}  // namespace thimble::quant
