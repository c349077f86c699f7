// --keep-float and --layer-bits: what `thimble quantize` does to single layers.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <thimble/core/attributes.h>
#include <thimble/quant/qconfig.h>

namespace CLI {
class App;
}

namespace thimble::apps {

class LayerChoices {
 public:
  /// Adds the options to a subcommand, which has --budget and --target-accuracy already.
  void add_to(CLI::App& command);

  /// Throws CLI::ValidationError if a pattern is to be kept float and to have bits.
  void check() const;

  /// Every layer as `config` says, but for those that were chosen.
  quant::QConfigMapping mapping(const quant::QConfig& config) const;

  /// The options that were given, by name; see StateKeeper.
  Attributes settings() const;

 private:
  std::vector<std::string> keep_float_, layer_bits_;
};

}  // namespace thimble::apps
