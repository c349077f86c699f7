// What exports each op and layer. Internal.
#pragma once

#include <map>
#include <string>

#include <thimble/serialization/onnx/exporter.h>

namespace thimble::onnx {

/// What writes a node's value.
struct ExportHandler {
  /// Throws NotExportable for what ONNX has no form of.
  void (*write)(Exporter& exporter, const nn::Node& node) = nullptr;
  /// The least opset that has what it writes; null: any.
  int64_t (*least_opset)(const Exporter& exporter, const nn::Node& node) = nullptr;
};

using ExportHandlers = std::map<std::string, ExportHandler>;

/// Null for an op or layer that has none. Takes its name or type.
const ExportHandler* export_handler_of(const std::string& type);

/// What stands for all observers, which hand their input on.
inline constexpr const char* kObserver = "Observer";

/// The op that a node applies, or the type of the layer that it calls, or kObserver.
std::string export_type_of(const nn::Graph& graph, const nn::Node& node);

// A file for each kind.
void add_arithmetic_exports(ExportHandlers& handlers);
void add_function_exports(ExportHandlers& handlers);
void add_embedding_exports(ExportHandlers& handlers);
void add_indexing_exports(ExportHandlers& handlers);
void add_shape_exports(ExportHandlers& handlers);
void add_reduction_exports(ExportHandlers& handlers);
void add_pool_exports(ExportHandlers& handlers);
void add_layer_exports(ExportHandlers& handlers);
void add_norm_exports(ExportHandlers& handlers);
void add_loss_exports(ExportHandlers& handlers);
void add_integer_exports(ExportHandlers& handlers);
void add_integer_row_exports(ExportHandlers& handlers);
void add_dynamic_exports(ExportHandlers& handlers);
void add_weight_only_exports(ExportHandlers& handlers);
void add_qat_exports(ExportHandlers& handlers);

}  // namespace thimble::onnx
