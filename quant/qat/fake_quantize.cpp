#include <algorithm>
#include <cmath>
#include <limits>

#include <thimble/quant/blocks.h>
#include <thimble/quant/qat/fake_quantize.h>

namespace thimble::quant {

namespace {

constexpr const char* kObserver = "observer_";

std::shared_ptr<Observer> observer_from(const Attributes& a) {
  const auto type = a.get<std::string>("observer");
  if (type.empty()) return nullptr;
  auto observer = std::dynamic_pointer_cast<Observer>(nn::make_layer(type, a.part(kObserver)));
  check<FormatError>(observer != nullptr, "attribute 'observer': '", type, "' is no observer");
  return observer;
}

std::shared_ptr<nn::Module> make_fake_quantizer(const Attributes& a) {
  auto layer = std::make_shared<FakeQuantize>(FakeQuantize::Options{.spec = QuantizationSpec::from_attributes(a),
                                                                    .observer = observer_from(a),
                                                                    .learned = a.get<bool>("learned"),
                                                                    .batched = a.get<bool>("batched"),
                                                                    .channels = a.get<int64_t>("channels")});
  layer->set_observing(a.get<bool>("observing"));
  layer->set_quantizing(a.get<bool>("quantizing"));
  return layer;
}

const nn::LayerRegistration fake_quantize_registration{"FakeQuantize", make_fake_quantizer};

bool is_zero(const Range& range, size_t channel) { return range.min[channel] == 0 && range.max[channel] == 0; }

bool is_all_zero(const Range& range) {
  for (size_t c = 0; c < range.min.size(); ++c)
    if (!is_zero(range, c)) return false;
  return true;
}

// Channels of zeros alone (pruned, say) begin where the others do in the mean: from any scale that is much larger than
// what they will learn, they would round to 0 for good.
void give_zeros_a_scale(const Range& range, std::vector<float>& scale) {
  double sum = 0, others = 0;
  for (size_t c = 0; c < scale.size(); ++c) {
    if (is_zero(range, c)) continue;
    sum += scale[c];
    ++others;
  }
  for (size_t c = 0; c < scale.size(); ++c)
    if (is_zero(range, c)) scale[c] = static_cast<float>(sum / others);
}

}  // namespace

FakeQuantize::FakeQuantize(const Options& options) : Observer(options.spec), options_(options) {
  check_bits(options.spec.bits, "FakeQuantize");
  check<ValueError>(options.channels >= 1 && (options.channels == 1 || options.spec.axis),
                    "FakeQuantize: ", options.channels,
                    " channels; there is one without an axis, and at least one with it");
  check<ValueError>(!options.observer || (!options.learned && options.observer->spec() == options.spec),
                    "FakeQuantize: its observer is for other parameters");
  if (options.observer) register_module("observer", options.observer);
  const Shape shape{options.channels};
  const NDArray ones = NDArray::placeholder(shape, DType::float32, 1);
  scale_ = options.learned ? register_parameter("scale", ones) : register_buffer("scale", ones);
  zero_point_ = register_buffer("zero_point", NDArray::placeholder(shape, DType::int32));
  initialized_ = register_buffer("initialized", NDArray::zeros({}, DType::uint8));
}

Attributes FakeQuantize::attributes() const {
  Attributes a = spec().to_attributes();
  a.set("observer", options_.observer ? options_.observer->type() : "");
  if (options_.observer) a.set_all(kObserver, options_.observer->attributes());
  a.set("learned", options_.learned);
  a.set("batched", options_.batched);
  a.set("channels", options_.channels);
  a.set("observing", observing_);
  a.set("quantizing", quantizing_);
  return a;
}

void FakeQuantize::set_observing(bool observing) {
  observing_ = observing;
  if (options_.learned) scale_.set_requires_grad(observing);
}

QParams FakeQuantize::qparams() const {
  check<ValueError>(has_qparams(), "fake-quantize '", name(), "' has seen no values",
                    options_.learned ? " other than 0" : "",
                    ": train the prepared graph, or run it on data in training mode");
  std::vector<float> scale = scale_.data().to_vector<float>();
  // An optimizer's step may lead to 0 or beyond.
  for (float& s : scale) s = std::max(std::abs(s), std::numeric_limits<float>::min());
  return {spec(), scale, zero_point_.data().to_vector<int32_t>()};
}

QParams FakeQuantize::qparams_for(const NDArray& x) const {
  const bool of_each = observing_ && !options_.learned && !options_.observer;
  const bool zero_weights = options_.learned && !options_.batched && !has_qparams();  // there is nothing to round
  return of_each || zero_weights ? choose_qparams(x, spec()) : qparams();
}

void FakeQuantize::set_qparams(const QParams& p) {
  const auto count = static_cast<int64_t>(p.scale.size());
  check<ShapeError>(count == options_.channels, "FakeQuantize: got values of ", count, " channels, expected ",
                    options_.channels);
  // All of them before any is changed: a scale with another's zero point would be wrong.
  const NDArray scale = NDArray::from_vector(p.scale), zero_point = NDArray::from_vector(p.zero_point);
  const NDArray initialized = NDArray::full({}, 1, DType::uint8);
  scale_.set_data(scale);
  zero_point_.set_data(zero_point);
  initialized_.set_data(initialized);
}

void FakeQuantize::initialize(const NDArray& x) {
  if (x.numel() == 0) return;
  if (!options_.observer) return observe(x, min_max(x, spec(), type()));
  (*options_.observer)(x);  // which takes the range itself
  set_qparams(options_.observer->qparams());
}

void FakeQuantize::observe(const NDArray& x, const Range& range) {
  // What is learned begins once, and zeros alone do not say where.
  if (options_.learned && is_all_zero(range)) return;
  QParams p = choose_qparams(range.min, range.max, spec());
  // A range to both sides of an affine zero point, which stays where it is, is the best start there; else LSQ's own.
  const bool two_sided = spec().scheme == QScheme::affine && p.zero_point[0] != spec().qmin();
  if (options_.learned && !two_sided)
    p.scale = lsq_initial_scale(x, spec(), lsq_positive_steps(spec(), p.zero_point[0]));
  if (options_.learned) give_zeros_a_scale(range, p.scale);
  set_qparams(p);
}

Tensor FakeQuantize::forward(const Tensor& x) {
  const bool learns = options_.learned && training();
  if (training() && observing_ && !(options_.learned && has_qparams())) initialize(x.data());
  const bool waits = learns && !has_qparams();
  if (!quantizing_ || x.numel() == 0 || waits) return x;
  if (!learns) return fake_quantize(x, qparams_for(x.data()));
  const QParams p = qparams();
  // Not unless it must: an earlier call of this step may need the scale for its gradient.
  if (p.scale != scale_.data().to_vector<float>()) scale_.set_data(NDArray::from_vector(p.scale));
  return fake_quantize(x, scale_, p.zero_point, spec(), grad_factor(x.shape(), p.zero_point[0]));
}

double FakeQuantize::grad_factor(const Shape& x, int32_t zero_point) const {
  const int64_t samples = options_.batched && x.ndim() > 0 ? x[0] : 1;
  return lsq_grad_factor(x.numel() / samples / options_.channels, lsq_positive_steps(spec(), zero_point));
}

}  // namespace thimble::quant
