#include <algorithm>
#include <cmath>
#include <limits>

#include <thimble/quant/layers/product_weights.h>
#include <thimble/quant/observers/qparams_mse.h>

namespace thimble::quant {

namespace {

// Given the step that suits the weights alone. A bias that dwarfs its weights could leave int32, so the step gets
// coarser; where all weights are zero, any suits them, and the finest keeps the bias exact.
float bias_step(float for_weights, bool all_zero, float bias, float input_scale, int64_t k) {
  const double least =
      std::abs(double{bias}) / (double{input_scale} * static_cast<double>(integer_bias_limit(k)) * 0.999);
  const float finest = std::max(static_cast<float>(least), std::numeric_limits<float>::min());
  return all_zero && bias != 0 ? finest : std::max(for_weights, finest);
}

}  // namespace

int64_t integer_bias_limit(int64_t k) { return std::numeric_limits<int32_t>::max() - k * 255 * 128; }

IntegerBias integer_bias(const ProductWeights& w, float input_scale) {
  const QParams& p = w.qparams;
  const int64_t k = w.weight.numel() / w.weight.shape()[0];
  const auto out = static_cast<size_t>(w.weight.shape()[0]);
  const auto groups = static_cast<size_t>(quant::group_count(k, p.spec.group_size));
  const Range range = min_max(w.weight.data(), p.spec);
  const auto bias = w.bias.defined() ? w.bias.data().to_vector<float>() : std::vector<float>(out);
  IntegerBias integers{std::vector<int32_t>(out), std::vector<float>(out)};
  for (size_t c = 0; c < out; ++c) {
    check<ValueError>(std::isfinite(bias[c]), "bias ", c, " is not finite");
    const size_t i = p.spec.axis ? c * groups : 0;
    const bool all_zero = range.min[i] == 0 && range.max[i] == 0;
    const float step =
        bias_step(p.scale[i] / static_cast<float>(1 << (8 - p.spec.bits)), all_zero, bias[c], input_scale, k);
    integers.step[c] = step;
    integers.value[c] = static_cast<int32_t>(std::nearbyint(double{bias[c]} / (double{input_scale} * double{step})));
  }
  return integers;
}

QParams WeightQuantization::qparams(const NDArray& weight) const {
  check_observer();
  if (scale.empty() && observer == "mse") return choose_qparams_mse(weight, spec);
  QParams p = choose_qparams(weight, spec);
  if (scale.empty()) return p;
  thimble::check<ValueError>(scale.size() == p.scale.size(), "weights: ", scale.size(), " scales were decided on, ",
                             p.scale.size(), " are needed");
  p.scale = scale;
  return p;
}

void WeightQuantization::check(const NDArray& weight) const {
  check_observer();
  WeightQuantization without_search = *this;
  without_search.observer = "minmax";
  without_search.qparams(weight);
}

void WeightQuantization::check_observer() const {
  thimble::check<ValueError>(observer == "minmax" || observer == "mse", "weights: unknown observer '", observer,
                             "'; there are: minmax, mse");
}

Attributes WeightQuantization::to_attributes() const {
  Attributes a = spec.to_attributes();
  a.set("observer", observer);
  if (!scale.empty()) a.set("scale", std::vector<double>(scale.begin(), scale.end()));
  return a;
}

WeightQuantization WeightQuantization::from_attributes(const Attributes& a) {
  const auto scale = a.get<std::vector<double>>("scale", {});
  return {QuantizationSpec::from_attributes(a), a.get<std::string>("observer"),
          std::vector<float>(scale.begin(), scale.end())};
}

}  // namespace thimble::quant
