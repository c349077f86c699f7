// Graphs as ONNX models. Of the library thimble::onnx, as import.h is.
//
//   const onnx::ExportReport report = onnx::export_model(graph, "model.onnx");
//   std::cout << "opset " << report.opset << '\n';
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/nn/graph/graph.h>

namespace thimble::onnx {

/// How export_model() writes a graph.
struct ExportOptions {
  /// 17 to 25; 0: the least that can say the graph.
  int64_t opset = 0;
  /// Integer products get weights of 7 bits, where they have 8: without VNNI instructions the kernels of ONNX Runtime
  /// add pairs of products in 16 bits, which others overflow. Answers change as by weights of 7 bits.
  bool reduce_range = false;
  /// The model's metadata_props, as names and values.
  std::vector<std::pair<std::string, std::string>> metadata = {};
};

/// What was written.
struct ExportReport {
  /// One without which ONNX Runtime gives other answers.
  struct SessionOption {
    std::string key, value, reason;
  };

  int64_t opset = 0;
  int64_t nodes = 0;
  std::vector<SessionOption> session_options = {};
};

/// Writes the graph, in evaluation mode, whatever mode it is in. Its inputs and outputs keep their names; the first
/// dimension of inputs is free ("batch"), where the graph takes other sizes of it.
///
/// Integer layers become what ONNX Runtime runs in integers, to the same integers: products and additions between
/// QuantizeLinear and DequantizeLinear, with uint8 activations and int8 weights (those of fewer bits times 2^(8 -
/// bits)), and a Clip of uint8 behind those whose range is smaller. Weight-only layers become DequantizeLinear of
/// packed weights before a MatMul; dynamic ones DynamicQuantizeLinear and integer products, or, with a range for each
/// row, the same arithmetic in ops of its own; layers of quantization-aware training, QuantizeLinear and
/// DequantizeLinear around float ones.
///
/// The file is written as a whole or not at all. Throws IOError; ValueError for ops and layers that ONNX has no form
/// of, or none in the opset that was asked for: the message lists each with its nodes; and for a graph whose inputs do
/// not say what they are like (see nn/graph/sample.h), or that is larger than a protobuf message can be, 2 GB.
THIMBLE_API ExportReport export_model(const nn::Graph& graph, const std::filesystem::path& path,
                                      const ExportOptions& options = {});

}  // namespace thimble::onnx
