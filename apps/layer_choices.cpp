#include "apps/layer_choices.h"

#include <algorithm>
#include <charconv>
#include <string_view>

#include <CLI/CLI.hpp>

#include "apps/joined.h"
#include <thimble/core/error.h>
#include <thimble/core/text.h>

namespace thimble::apps {

namespace {

// PATTERN=W[,A]
struct LayerBits {
  std::string pattern;
  int weight = 0;
  std::optional<int> activation = std::nullopt;
};

std::optional<int> bits_from(std::string_view text) {
  int bits = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), bits);
  const bool is_number = error == std::errc() && end == text.data() + text.size();
  return is_number && bits >= 2 && bits <= 8 ? std::optional(bits) : std::nullopt;
}

std::optional<LayerBits> layer_bits_from(const std::string& text) {
  const size_t equals = text.rfind('=');
  if (equals == std::string::npos || equals == 0) return std::nullopt;
  const std::string_view bits = std::string_view(text).substr(equals + 1);
  const size_t comma = bits.find(',');
  LayerBits result{text.substr(0, equals)};
  const std::optional<int> weight = bits_from(bits.substr(0, comma));
  if (comma != std::string_view::npos) result.activation = bits_from(bits.substr(comma + 1));
  if (!weight || (comma != std::string_view::npos && !result.activation)) return std::nullopt;
  result.weight = *weight;
  return result;
}

CLI::Validator layer_bits() {
  return CLI::Validator(
      [](const std::string& text) {
        return layer_bits_from(text)
                   ? std::string()
                   : str(detail::quote(text), " is not PATTERN=W or PATTERN=W,A with bits from 2 to 8");
      },
      "");
}

}  // namespace

void LayerChoices::add_to(CLI::App& command) {
  command
      .add_option("--keep-float", keep_float_,
                  "Layers that are not quantized: a name (block1.conv), what contains it (block1) or a pattern with * "
                  "and ?; may be given several times")
      ->type_name("PATTERN")
      ->allow_extra_args(false);
  command
      .add_option(
          "--layer-bits", layer_bits_,
          "Layers with other bits: of the weights and, after a comma, of the activations that they read; may be "
          "given several times. The longest pattern counts")
      ->type_name("PATTERN=W[,A]")
      ->allow_extra_args(false)
      ->check(layer_bits())
      ->excludes("--budget")
      ->excludes("--target-accuracy");
}

void LayerChoices::check() const {
  for (const std::string& bits : layer_bits_)
    if (const std::string pattern = layer_bits_from(bits)->pattern; std::ranges::count(keep_float_, pattern) > 0)
      throw CLI::ValidationError("--layer-bits", str(detail::quote(pattern), " is to be kept float, too"));
}

quant::QConfigMapping LayerChoices::mapping(const quant::QConfig& config) const {
  quant::QConfigMapping mapping;
  mapping.set_global(config);
  for (const std::string& pattern : keep_float_) mapping.set_name(pattern, std::nullopt);
  for (const std::string& text : layer_bits_) {
    const LayerBits bits = *layer_bits_from(text);
    quant::QConfig own = config;
    own.weight.bits = bits.weight;
    own.activation.bits = bits.activation.value_or(config.activation.bits);
    mapping.set_name(bits.pattern, own);
  }
  return mapping;
}

Attributes LayerChoices::settings() const {
  Attributes settings;
  if (!keep_float_.empty()) settings.set("--keep-float", joined(keep_float_, " "));
  if (!layer_bits_.empty()) settings.set("--layer-bits", joined(layer_bits_, " "));
  return settings;
}

}  // namespace thimble::apps
