// QConfig and QConfigMapping: which layers are quantized, and how. The vocabulary is torch.ao.quantization's.
//
//   auto mapping = quant::QConfigMapping::static_int8();
//   mapping.set_name("fc3", std::nullopt);                            // this layer stays float
//   mapping.set_name("block*.conv?", quant::QConfig::of_bits(4, 8));  // 4-bit weights in the blocks' convolutions
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/quant/qparams.h>

namespace thimble::quant {

/// How a layer's inputs and weights are quantized.
struct THIMBLE_API QConfig {
  QuantizationSpec activation = QuantizationSpec::activation();
  std::string observer = "minmax";  ///< of activations
  double percentile = 99.99;        ///< of values, if the observer is "percentile"
  /// Signed and symmetric, per tensor, per output channel (axis 0) or in groups, which convolutions take as per
  /// channel.
  QuantizationSpec weight = QuantizationSpec::per_channel_weight();
  std::string weight_observer = "minmax";          ///< or "mse"
  DynamicRange dynamic_range = DynamicRange::row;  ///< quantize_dynamic(): of activations

  /// Weights per output channel and activations of so many bits, 2 to 8. Of fewer than 8, which are too few to spend
  /// them on outliers, ranges are those of least squared error ("mse").
  static QConfig of_bits(int weight_bits, int activation_bits);
};

/// Which QConfig a layer gets: the one for its name, else for its type, else the global one. No value means float.
class THIMBLE_API QConfigMapping {
 public:
  /// Nothing is quantized.
  QConfigMapping() = default;
  /// Everything that can be: 8-bit activations per tensor, 8-bit weights per output channel.
  static QConfigMapping static_int8();
  /// The same of 4 bits, see QConfig::of_bits(). The first and the last layer often want 8:
  ///
  ///   auto mapping = quant::QConfigMapping::static_int4();
  ///   mapping.set_name("conv1", quant::QConfig()).set_name("fc", quant::QConfig());
  static QConfigMapping static_int4();

  QConfigMapping& set_global(std::optional<QConfig> config);
  /// type as nn::Module::type() tells it: "Linear", which stands for LinearReLU, too, unless that is set by itself.
  QConfigMapping& set_type(const std::string& type, std::optional<QConfig> config);
  /// A node's name ("block1.fc"), a container of nodes ("block1", which stands for all whose names begin with
  /// "block1."), or a pattern of either, where ? is one character and * any number of them, dots included
  /// ("block*.conv?"). A node gets what was set for exactly its name; else, of what else names it, for what has the
  /// most characters other than ? and *; of several of these, for a container, else for the pattern that was set last.
  QConfigMapping& set_name(const std::string& name, std::optional<QConfig> config);

  /// `types` are the names under which the layer's type counts, the most particular first.
  std::optional<QConfig> find(const std::string& name, const std::vector<std::string>& types) const;
  /// Whether what was given to set_name() names this node.
  static bool matches(std::string_view name, std::string_view node);
  /// What was given to set_name and set_type, for checking that each means something.
  std::vector<std::string> names() const;
  std::vector<std::string> types() const;

 private:
  std::optional<QConfig> global_;
  std::map<std::string, std::optional<QConfig>, std::less<>> by_type_, by_name_;
  std::vector<std::pair<std::string, std::optional<QConfig>>> by_pattern_;  // each once, the last set behind
};

}  // namespace thimble::quant
