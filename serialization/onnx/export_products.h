// What products of all kinds have in common: convolutions, linear layers. Internal.
#pragma once

#include <string>
#include <vector>

#include <thimble/core/ops/conv.h>
#include <thimble/serialization/onnx/exporter.h>

namespace thimble::onnx {

/// As Conv, ConvInteger and ConvTranspose have them, for a kernel of {height, width}.
Attributes conv_attributes_of(const Conv2dOptions& options, const std::vector<int64_t>& kernel);

/// The same of the attributes of an op or layer, of images or volumes, transposed or not.
Attributes conv_attributes_from(const Attributes& attributes, const std::vector<int64_t>& kernel);

/// The node's value: what this op gives, perhaps with a relu behind it.
void write_activated(Exporter& exporter, const nn::Node& node, bool relu, const std::string& op,
                     const std::vector<std::string>& inputs, const Attributes& attributes = {});

/// A tensor of the layer's by its name; undefined if there is none.
NDArray state_array(const nn::Module& layer, const std::string& name);

}  // namespace thimble::onnx
