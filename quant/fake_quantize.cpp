#include <algorithm>
#include <cmath>
#include <limits>

#include <thimble/quant/blocks.h>
#include <thimble/quant/fake_quantize.h>

namespace thimble::quant {

namespace {

std::shared_ptr<nn::Module> make(const Attributes& a) {
  auto layer = std::make_shared<FakeQuantize>(FakeQuantize::Options{.spec = QuantizationSpec::from_attributes(a),
                                                                    .observer = a.get<std::string>("observer"),
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
    register_module("observer", observer_ = make_observer(options.observer, options.spec));
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

std::vector<int32_t> FakeQuantize::zero_points() const { return zero_point_.data().to_vector<int32_t>(); }

QParams FakeQuantize::qparams() const {
  check<ValueError>(initialized_.item<uint8_t>() != 0, "fake-quantize '", name(),
                    "' has seen no values: train the prepared graph, or run it on data in training mode");
  return {spec(), scale_.data().to_vector<float>(), zero_points()};
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
  QParams p = choose_qparams(x, spec());
  if (options_.learned) {
    // The zero point stays where the range puts it; ranges that begin at 0 keep it at the lowest integer.
    const bool affine = spec().scheme == QScheme::affine && p.zero_point[0] != spec().qmin();
    if (!affine) p.scale = lsq_initial_scale(x, spec());
  } else if (observer_) {
    (*observer_)(x);
    p = observer_->qparams();
  }
  set_qparams(p);
}

void FakeQuantize::observe(const NDArray& x) {
  if (!options_.learned || initialized_.item<uint8_t>() == 0) initialize(x);
  if (options_.learned) keep_scale_positive();
}

// An optimizer's step may lead to 0 or beyond.
void FakeQuantize::keep_scale_positive() {
  float* scale = scale_.mutable_data().data<float>();
  for (int64_t i = 0; i < options_.channels; ++i)
    scale[i] = std::max(std::abs(scale[i]), std::numeric_limits<float>::min());
}

Tensor FakeQuantize::forward(const Tensor& x) {
  if (training() && observing_) observe(x.data());
  if (!quantizing_ || x.numel() == 0) return x;
  if (!options_.learned) return fake_quantize(x, qparams_for(x.data()));
  qparams();  // throws if there are none
  const double factor = lsq_grad_factor(x.numel() / options_.channels, spec());
  return fake_quantize(x, scale_, zero_points(), spec(), factor);
}

}  // namespace thimble::quant
