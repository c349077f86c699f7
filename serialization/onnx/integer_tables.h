// Functions of one quantized value as tables. Internal.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <thimble/nn/module.h>
#include <thimble/quant/layers/quantized_values.h>

namespace thimble::onnx {

using quant::floats_of;
using quant::table_of;

/// A layer that looks integers up in the table; null if it changes none up to qmax.
std::shared_ptr<nn::Module> table_layer(const std::vector<uint8_t>& table, int32_t qmax);

}  // namespace thimble::onnx
