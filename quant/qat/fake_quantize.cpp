#include <algorithm>
#include <cmath>
#include <limits>

#include <thimble/quant/blocks.h>
#include <thimble/quant/qat/fake_quantize.h>

namespace thimble::quant {

namespace {

std::shared_ptr<nn::Module> make(const Attributes& a) {
  auto layer = std::make_shared<FakeQuantize>(FakeQuantize::Options{.spec = QuantizationSpec::from_attributes(a),
                                                                    .observer = a.get<std::string>("observer"),
                                                                    .percentile = a.get<double>("percentile"),
                                                                    .learned = a.get<bool>("learned"),
                                                                    .channels = a.get<int64_t>("channels")});
  layer->set_observing(a.get<bool>("observing"));
  layer->set_quantizing(a.get<bool>("quantizing"));
  return layer;
}

const nn::LayerRegistration registration{"FakeQuantize", make};

}  // namespace

FakeQuantize::FakeQuantize(const Options& options) : Observer(options.spec), options_(options) {
  check_bits(options.spec.bits, "FakeQuantize");
  check<ValueError>(options.channels >= 1 && (options.channels == 1 || options.spec.axis),
                    "FakeQuantize: ", options.channels,
                    " channels; there is one without an axis, and at least one with it");
  if (!options.learned && !options.observer.empty())
    register_module("observer",
                    observer_ = make_observer(options.observer, options.spec, {.percentile = options.percentile}));
  const Tensor scale = NDArray::full({options.channels}, 1.0);
  if (options.learned) {
    scale_ = register_parameter("scale", scale);
  } else {
    scale_ = register_buffer("scale", scale);
  }
  zero_point_ = register_buffer("zero_point", NDArray::zeros({options.channels}, DType::int32));
  initialized_ = register_buffer("initialized", NDArray::zeros({}, DType::uint8));
}

Attributes FakeQuantize::attributes() const {
  Attributes a = spec().to_attributes();
  a.set("observer", options_.observer);
  a.set("percentile", options_.percentile);
  a.set("learned", options_.learned);
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
  check<ValueError>(initialized_.item<uint8_t>() != 0, "fake-quantize '", name(),
                    "' has seen no values: train the prepared graph, or run it on data in training mode");
  std::vector<float> scale = scale_.data().to_vector<float>();
  // An optimizer's step may lead to 0 or beyond.
  for (float& s : scale) s = std::max(std::abs(s), std::numeric_limits<float>::min());
  return {spec(), scale, zero_point_.data().to_vector<int32_t>()};
}

QParams FakeQuantize::qparams_for(const NDArray& x) const {
  const bool of_each = observing_ && !options_.learned && !observer_;
  return of_each ? choose_qparams(x, spec()) : qparams();
}

void FakeQuantize::set_qparams(const QParams& p) {
  const auto count = static_cast<int64_t>(p.scale.size());
  check<ShapeError>(count == options_.channels, "FakeQuantize: got values of ", count, " channels, expected ",
                    options_.channels);
  scale_.set_data(NDArray::from_vector(p.scale));
  zero_point_.set_data(NDArray::from_vector(p.zero_point));
  initialized_.set_data(NDArray::full({}, 1, DType::uint8));
}

void FakeQuantize::initialize(const NDArray& x) {
  if (x.numel() == 0) return;
  if (!observer_) return observe(x, min_max(x, spec(), type()));
  (*observer_)(x);  // which takes the range itself
  set_qparams(observer_->qparams());
}

void FakeQuantize::observe(const NDArray& x, const Range& range) {
  QParams p = choose_qparams(range.min, range.max, spec());
  // A range to both sides of an affine zero point, which stays where it is, is the best start there; else LSQ's own.
  const bool two_sided = spec().scheme == QScheme::affine && p.zero_point[0] != spec().qmin();
  if (options_.learned && !two_sided) p.scale = lsq_initial_scale(x, spec());
  set_qparams(p);
}

Tensor FakeQuantize::forward(const Tensor& x) {
  const bool learns = options_.learned && training();
  const bool is_initialized = initialized_.item<uint8_t>() != 0;
  if (training() && observing_ && !(options_.learned && is_initialized)) initialize(x.data());
  if (!quantizing_ || x.numel() == 0) return x;
  if (!learns) return fake_quantize(x, qparams_for(x.data()));
  const QParams p = qparams();
  std::ranges::copy(p.scale, scale_.mutable_data().data<float>());
  return fake_quantize(x, scale_, p.zero_point, spec(), lsq_grad_factor(x.numel() / options_.channels, spec()));
}

}  // namespace thimble::quant
