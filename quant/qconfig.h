// QConfig and QConfigMapping: which layers are quantized, and how. The vocabulary is torch.ao.quantization's.
//
//   auto mapping = quant::QConfigMapping::static_int8();
//   mapping.set_name("fc3", std::nullopt);           // this layer stays float
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include <thimble/quant/qparams.h>

namespace thimble::quant {

/// How a layer's inputs and weights are quantized.
struct QConfig {
  QuantizationSpec activation = QuantizationSpec::activation();
  std::string observer = "minmax";  ///< of activations
  double percentile = 99.99;        ///< of values, if the observer is "percentile"
  /// Signed and symmetric, per tensor, per output channel (axis 0) or in groups, which convolutions take as per
  /// channel.
  QuantizationSpec weight = QuantizationSpec::per_channel_weight();
  std::string weight_observer = "minmax";          ///< or "mse"
  DynamicRange dynamic_range = DynamicRange::row;  ///< quantize_dynamic(): of activations
};

/// Which QConfig a layer gets: the one for its name, else for its type, else the global one. No value means float.
class QConfigMapping {
 public:
  /// Nothing is quantized.
  QConfigMapping() = default;
  /// Everything that can be: 8-bit activations per tensor, 8-bit weights per output channel.
  static QConfigMapping static_int8();

  QConfigMapping& set_global(std::optional<QConfig> config);
  /// type as nn::Module::type() tells it: "Linear", which stands for LinearReLU, too, unless that is set by itself.
  QConfigMapping& set_type(const std::string& type, std::optional<QConfig> config);
  /// A node's name: "block1.fc".
  QConfigMapping& set_name(const std::string& name, std::optional<QConfig> config);

  /// `types` are the names under which the layer's type counts, the most particular first.
  std::optional<QConfig> find(const std::string& name, const std::vector<std::string>& types) const;
  /// What was given to set_name and set_type, for checking that each means something.
  std::vector<std::string> names() const;
  std::vector<std::string> types() const;

 private:
  std::optional<QConfig> global_;
  std::map<std::string, std::optional<QConfig>> by_type_, by_name_;
};

}  // namespace thimble::quant
