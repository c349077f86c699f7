// Modules and their configuration as text. Internal.
#pragma once

#include <string>

#include <thimble/core/attributes.h>
#include <thimble/nn/module.h>

namespace thimble::nn::detail {

/// What differs from what layers have by default.
Attributes without_defaults(const Attributes& all);

/// The name of its class: "nn::Linear", "Net".
std::string class_name(const Module& module);

}  // namespace thimble::nn::detail
