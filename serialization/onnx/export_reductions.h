// Reductions, whose axes lie at different places. Internal.
#pragma once

#include <string>
#include <vector>

#include <thimble/serialization/onnx/exporter.h>

namespace thimble::onnx {

/// An op of ONNX's that reduces x over these axes, or all: attributes in older opsets, inputs in newer ones, of
/// ReduceSum since 13, of the others since 18.
struct ReductionCall {
  ReductionCall(Exporter& exporter, const std::string& op_type, const std::string& x, const std::vector<int64_t>& axes,
                bool keepdim);

  std::string step(Exporter& exporter, const nn::Node& node) const {
    return exporter.step(node, op, inputs, attributes);
  }
  void result(Exporter& exporter, const nn::Node& node) const { exporter.result(node, op, inputs, attributes); }

  std::string op;
  std::vector<std::string> inputs;
  Attributes attributes;
};

}  // namespace thimble::onnx
