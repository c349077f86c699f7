// A graph that is calibrated once and quantized in many ways: what measuring layers one by one needs.
//
//   quant::CalibratedGraph calibrated(graph, mapping, calibrate);
//   for (const quant::Product& layer : calibrated.products()) {
//     nn::Graph int8_but_for_one = calibrated.quantized(quant::QConfigMapping(mapping).set_name(layer.name, {}));
//   }  // and is measured
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/nn/graph/graph.h>
#include <thimble/quant/quantize.h>

namespace thimble::quant {

/// A layer that a configuration makes an integer one: linear or conv2d.
struct THIMBLE_API Product {
  std::string name;
  std::string type;  ///< in the fused graph: "Conv2dReLU"
  QConfig config;
  std::vector<std::string> other_calls = {};  ///< names of the nodes that call the same layer, after the first

  /// Gives all calls this configuration.
  void configure(QConfigMapping& mapping, const std::optional<QConfig>& call_config) const;
};

/// A float graph and what calibration has seen of it, from which graphs of many configurations are made.
class THIMBLE_API CalibratedGraph {
 public:
  using Calibrate = std::function<void(nn::Graph&)>;

  /// Fuses the graph, prepares it and calibrates, as quantize_model() does. Throws what that throws.
  CalibratedGraph(const nn::Graph& graph, const QConfigMapping& mapping, Calibrate calibrate);

  /// The fused float graph, in evaluation mode.
  const nn::Graph& reference() const { return reference_; }
  const QConfigMapping& mapping() const { return mapping_; }
  /// The layers that the mapping makes integer ones, in the order of the graph.
  const std::vector<Product>& products() const { return products_; }

  /// What quantize_model() would give for this mapping, or the float graph if it quantizes no layer. Calibrates again
  /// only if the mapping needs the range of a value that was not observed so far, or observes it otherwise. Throws what
  /// prepare() and convert() throw.
  nn::Graph quantized(const QConfigMapping& mapping, ConversionReport* report = nullptr);

 private:
  nn::Graph calibrated(const QConfigMapping& mapping);
  nn::Graph kept_float(ConversionReport* report) const;
  bool take_known_observers(nn::Graph& prepared) const;
  void remember_observers(const nn::Graph& prepared);
  void decide_scales(nn::Graph& prepared);

  nn::Graph reference_;
  QConfigMapping mapping_;
  Calibrate calibrate_;
  std::vector<Product> products_;
  std::map<std::string, std::shared_ptr<nn::Module>> observers_;  // by their nodes' names, which tell what they watch
  std::map<std::string, std::vector<float>> scales_;  // of weights, by layer and how they are chosen: a search is long
};

}  // namespace thimble::quant
