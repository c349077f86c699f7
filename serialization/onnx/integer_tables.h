// Functions of one quantized value as tables. Internal.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <thimble/nn/module.h>
#include <thimble/quant/layers/quantized_layer.h>

namespace thimble::onnx {

/// Which float each integer stands for, [qmax + 1].
NDArray floats_of(const quant::TensorQParams& parameters);

/// These floats, one for each integer of an input, quantized: 256 entries, the last repeated if there are fewer floats.
std::vector<uint8_t> table_of(const NDArray& floats, const quant::TensorQParams& parameters);

/// A layer that looks integers up in the table; null if it changes none up to qmax.
std::shared_ptr<nn::Module> table_layer(const std::vector<uint8_t>& table, int32_t qmax);

}  // namespace thimble::onnx
