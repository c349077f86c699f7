// ONNX models as graphs. A library of its own, thimble::onnx, since it needs protobuf.
//
//   nn::Graph graph = onnx::import_model("model.onnx");
//   Tensor y = graph(x);                               // trains like any module, too
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/nn/graph/graph.h>
#include <thimble/quant/quantize.h>

namespace thimble::onnx {

/// What the file leaves open.
struct THIMBLE_API ImportOptions {
  /// Sizes of inputs by name, the batch first, where the file leaves sizes free: the graph remembers them as its
  /// example.
  std::map<std::string, Shape> shapes;
  /// Inputs of one element that are to be constants of this value: a sampling rate, a threshold.
  std::map<std::string, double> values;
  /// Whether quantized models become integer layers; else all of them computes with dequantized values.
  bool integer_layers = true;
  /// If given, gets an entry for each node of a quantized model that stays float between quantized values.
  quant::ConversionReport* report = nullptr;
  /// Large tensors stay in the file, and in those of external data, until somebody asks for them: nobody may shorten
  /// or write to these while the graph lives (replacing or removing them is fine). Else all is read now.
  bool mapped = true;
};

/// Reads a model of opset 1 to 25 (domain ai.onnx). Convolutions, fully connected layers and normalizations become
/// layers, all else ops; what follows from constants alone is computed. Inputs and outputs have the file's names. What
/// a quantized model computes between DequantizeLinear and QuantizeLinear becomes integer layers where that is exact;
/// the rest computes with the dequantized values.
///
/// Throws IOError for a file that cannot be read, FormatError for one that is no sound model, and for ops and
/// attributes that are not covered: its message lists each such op with the nodes that apply it. Throws ValueError for
/// options that do not fit the model.
THIMBLE_API nn::Graph import_model(const std::filesystem::path& path, const ImportOptions& options = {});

/// How often a model applies an op, and whether that op is covered.
struct THIMBLE_API OpCount {
  std::string op;  ///< with its domain, if that is not the standard's
  int64_t count = 0;
  bool covered = false;
};

/// What a file says of itself.
struct THIMBLE_API ModelSummary {
  int64_t opset = 0;  ///< of ai.onnx; 0 if it names none
  int64_t ir_version = 0;
  std::string producer;      ///< as the file has it
  std::vector<OpCount> ops;  ///< sorted by name
};

/// Makes no graph. Throws IOError for a file that cannot be read, FormatError for one that is no ONNX model at all.
THIMBLE_API ModelSummary summarize_model(const std::filesystem::path& path);

}  // namespace thimble::onnx
