// Layers made of others, with other arrays. Internal to quant.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include <thimble/nn/module.h>

namespace thimble::quant {

/// The layer's own tensor of this name; undefined if it has none.
Tensor tensor_of(const nn::Module& layer, std::string_view name);

/// Like `layer`, of its mode, but of this type and with these arrays; `bias` may be undefined. What was frozen stays
/// so; a bias that is new is frozen if the weight is.
std::shared_ptr<nn::Module> layer_like(const nn::Module& layer, const std::string& type, const NDArray& weight,
                                       const NDArray& bias);

}  // namespace thimble::quant
