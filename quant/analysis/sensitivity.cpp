#include <algorithm>

#include <thimble/quant/analysis/error_report.h>
#include <thimble/quant/analysis/sensitivity.h>

namespace thimble::quant {

namespace {

QConfigMapping mapping_for(const CalibratedGraph& calibrated, const Product& product, SensitivityMode mode) {
  const bool one = mode == SensitivityMode::one;
  QConfigMapping mapping = one ? QConfigMapping() : calibrated.mapping();
  product.configure(mapping, one ? std::optional(product.config) : std::nullopt);
  return mapping;
}

double sqnr_of(const std::vector<TensorError>& errors, const std::string& name) {
  const auto it = std::ranges::find(errors, name, &TensorError::name);
  check<ValueError>(it != errors.end(), "sensitivity: the quantized graph has no value '", name, "' to compare");
  return it->sqnr_db;
}

}  // namespace

Sensitivity measure_sensitivity(CalibratedGraph& calibrated, const std::function<double(nn::Graph&)>& evaluate,
                                std::span<const Tensor> batches, const SensitivityOptions& options) {
  check<ValueError>(!batches.empty(), "sensitivity: there is no batch to compare outputs on");
  nn::Graph reference = calibrated.reference().clone(), all = calibrated.quantized(calibrated.mapping());
  Sensitivity result{evaluate(reference), evaluate(all), {}};
  for (const Product& product : calibrated.products()) {
    nn::Graph graph = calibrated.quantized(mapping_for(calibrated, product, options.mode));
    const double accuracy = evaluate(graph);
    const auto errors = quantization_error(reference, graph, batches);
    result.layers.push_back({product.name, product.type, accuracy, result.baseline - accuracy,
                             sqnr_of(errors, reference.output()->name), sqnr_of(errors, product.name)});
    if (options.on_layer) options.on_layer(result.layers.back(), graph);
  }
  return result;
}

}  // namespace thimble::quant
