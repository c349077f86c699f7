#include <thimble/quant/layers/product_weights.h>
#include <thimble/quant/observers/qparams_mse.h>

namespace thimble::quant {

QParams WeightQuantization::qparams(const NDArray& weight) const {
  check<ValueError>(observer == "minmax" || observer == "mse", "weights: unknown observer '", observer,
                    "'; there are: minmax, mse");
  if (scale.empty()) return observer == "mse" ? choose_qparams_mse(weight, spec) : choose_qparams(weight, spec);
  QParams p = choose_qparams(weight, spec);
  check<ValueError>(scale.size() == p.scale.size(), "weights: ", scale.size(), " scales were decided on, ",
                    p.scale.size(), " are needed");
  p.scale = scale;
  return p;
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
