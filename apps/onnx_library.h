// The library that reads and writes ONNX models, loaded when there is one to read or to write.
#pragma once

#include <string>

#include <thimble/serialization/onnx/export.h>
#include <thimble/serialization/onnx/import.h>

namespace thimble::apps {

/// Whether the path names an ONNX model.
bool is_onnx_file(const std::string& path);

/// onnx::import_model(path, options). Throws what that throws, and Error if the library is not there.
nn::Graph import_onnx(const std::string& path, const onnx::ImportOptions& options = {});

/// onnx::summarize_model(path). Throws the same.
onnx::ModelSummary summarize_onnx(const std::string& path);

/// onnx::export_model(graph, path, options). Throws what that throws, and Error if the library is not there.
onnx::ExportReport export_onnx(const nn::Graph& graph, const std::string& path, const onnx::ExportOptions& options);

}  // namespace thimble::apps
