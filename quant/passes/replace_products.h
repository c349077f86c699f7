// What passes have in common that replace layers one by one, without data. Internal to quant.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include <thimble/quant/quantize.h>

namespace thimble::quant {

struct ProductReplacement {
  const char* pass;  ///< its name, for errors
  /// Why this linear, conv2d or recurrent layer stays float; empty if it does not.
  std::function<std::string(const nn::Module&)> obstacle;
  std::function<std::shared_ptr<nn::Module>(const nn::Module&, const QConfig&)> make;
  bool keeps_activations = false;  ///< float, whatever the configuration says
};

/// The graph, fused and in evaluation mode, with the layers that the mapping names replaced. The report has an entry
/// for each node whose layer has parameters. Throws ValueError for a graph that prepare() or prepare_qat() has made, if
/// no layer would be replaced, names in the mapping that do not exist and calls of one layer whose configurations
/// differ in what counts, and what make() throws, with the node's name in front.
nn::Graph replace_products(const nn::Graph& graph, const QConfigMapping& mapping, const ProductReplacement& replacement,
                           ConversionReport* report);

}  // namespace thimble::quant
