#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include <thimble/quant/observers/cross_entropy_observer.h>
#include <thimble/quant/observers/range_search.h>

namespace thimble::quant {

namespace {

const nn::LayerRegistration cross_entropy_observer_registration{
    "CrossEntropyObserver", [](const Attributes& a) {
      return std::make_shared<CrossEntropyObserver>(QuantizationSpec::from_attributes(a), a.get<int64_t>("classes", 0));
    }};

// A power of two, so that a full sample can be halved.
int64_t capacity_for(int64_t classes) {
  constexpr int64_t kLeast = 16;
  const int64_t rows = std::clamp(CrossEntropyObserver::kSampleValues / std::max<int64_t>(classes, 1), kLeast,
                                  CrossEntropyObserver::kSampleRows);
  return static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(rows)));
}

// Of `seen` rows, every stride-th one fits.
int64_t stride_for(int64_t seen, int64_t capacity) {
  int64_t stride = 1;
  while ((seen - 1) / stride >= capacity) stride *= 2;
  return stride;
}

// As if it had these rows, but without memory for them: the number of classes may come from a file.
NDArray no_rows(int64_t classes) {
  return NDArray::zeros({1, 1}).broadcast_to({classes > 0 ? capacity_for(classes) : 0, classes});
}

NDArray softmax_of(const NDArray& logits) {
  const int64_t rows = logits.shape(0), classes = logits.shape(1);
  NDArray out(logits.shape());
  for (int64_t r = 0; r < rows; ++r) {
    const float* x = logits.data<float>() + r * classes;
    float* p = out.data<float>() + r * classes;
    const double max = *std::max_element(x, x + classes);
    double sum = 0;
    for (int64_t c = 0; c < classes; ++c) sum += std::exp(x[c] - max);
    for (int64_t c = 0; c < classes; ++c) p[c] = static_cast<float>(std::exp(x[c] - max) / sum);
  }
  return out;
}

// The mean of -sum_c p[c] log softmax(y)[c] over rows, where y = scale * q: the zero point drops out of the softmax.
template <typename Q>
double cross_entropy_of(const NDArray& probabilities, const NDArray& integers, double scale) {
  double exps[256];  // of what is d steps below the largest
  for (int d = 0; d < 256; ++d) exps[d] = std::exp(-scale * d);
  const int64_t rows = integers.shape(0), classes = integers.shape(1);
  double loss = 0;
  for (int64_t r = 0; r < rows; ++r) {
    const float* p = probabilities.data<float>() + r * classes;
    const Q* q = integers.data<Q>() + r * classes;
    const int max = *std::max_element(q, q + classes);
    double sum = 0, expected = 0;
    for (int64_t c = 0; c < classes; ++c) {
      sum += exps[max - q[c]];
      expected += double{p[c]} * (max - q[c]);
    }
    loss += std::log(sum) + scale * expected;
  }
  return loss / static_cast<double>(rows);
}

}  // namespace

CrossEntropyObserver::CrossEntropyObserver(const QuantizationSpec& spec, int64_t classes) : Observer(spec) {
  check<ValueError>(!spec.axis, "CrossEntropyObserver: it observes per tensor, the spec is per channel");
  check<ValueError>(classes >= 0, "CrossEntropyObserver: ", classes, " classes");
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  min_ = register_buffer("min", NDArray::full({}, kInfinity));
  max_ = register_buffer("max", NDArray::full({}, -kInfinity));
  seen_ = register_buffer("seen", NDArray::zeros({}, DType::int64));
  rows_ = register_buffer("rows", no_rows(classes));
}

Attributes CrossEntropyObserver::attributes() const {
  Attributes a = Observer::attributes();
  if (classes() > 0) a.set("classes", classes());
  return a;
}

void CrossEntropyObserver::observe(const NDArray& x, const Range& range) {
  check<ShapeError>(x.ndim() == 2 && (classes() == 0 || x.shape(1) == classes()), type(), ": expects logits [n, ",
                    classes() == 0 ? std::string("classes") : std::to_string(classes()), "], got ", x.shape());
  if (classes() == 0) rows_.mutable_data() = no_rows(x.shape(1));
  NDArray& rows = rows_.mutable_data();
  rows = rows.contiguous();
  const NDArray values = x.contiguous();
  const int64_t capacity = rows.shape(0), size = classes();
  const auto row_at = [size](float* first, int64_t r) { return first + r * size; };
  float* kept = rows.data<float>();
  auto seen = seen_.item<int64_t>();
  int64_t stride = stride_for(seen, capacity);
  for (int64_t r = 0; r < values.shape(0); ++r, ++seen) {
    if (seen % stride != 0) continue;
    if (seen / stride == capacity) {
      for (int64_t i = 1; i < capacity / 2; ++i) std::copy_n(row_at(kept, 2 * i), size, row_at(kept, i));
      stride *= 2;
    }
    std::copy_n(values.data<float>() + r * size, size, row_at(kept, seen / stride));
  }
  *seen_.mutable_data().data<int64_t>() = seen;
  min_.mutable_data().fill(std::min(min_.item<float>(), range.min[0]));
  max_.mutable_data().fill(std::max(max_.item<float>(), range.max[0]));
}

NDArray CrossEntropyObserver::sample() const {
  const auto seen = seen_.item<int64_t>();
  return rows_.data().slice(0, 0, (seen - 1) / stride_for(seen, rows_.shape(0)) + 1).contiguous();
}

QParams CrossEntropyObserver::qparams() const {
  check_seen(seen_.item<int64_t>() > 0);
  const NDArray logits = sample(), probabilities = softmax_of(logits);
  const auto loss = [&](const QParams& p) {
    const NDArray q = quantize(logits, p);
    return p.spec.is_signed ? cross_entropy_of<int8_t>(probabilities, q, p.scale[0])
                            : cross_entropy_of<uint8_t>(probabilities, q, p.scale[0]);
  };
  const ClipRange range = search_range({min_.item<float>(), max_.item<float>()}, spec(), RangeSearch::both_ends, loss);
  return choose_qparams(range.low, range.high, spec());
}

void CrossEntropyObserver::state_changed() {
  const auto seen = seen_.item<int64_t>();
  const float min = min_.item<float>(), max = max_.item<float>();
  check<ValueError>(seen == 0 || (seen > 0 && seen <= std::numeric_limits<int64_t>::max() / 2 && classes() > 0 &&
                                  std::isfinite(min) && std::isfinite(max) && min <= max),
                    type(), ": ", seen, " rows of ", classes(), " classes in [", min, ", ", max, "]");
}

}  // namespace thimble::quant
