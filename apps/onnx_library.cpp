#include "apps/onnx_library.h"

#include "apps/component_library.h"

namespace thimble::apps {

namespace {

#ifdef THIMBLE_ONNX_LIBRARY

template <typename Function>
Function* onnx_function(const char* name) {
  return function_of_library<Function>(THIMBLE_ONNX_LIBRARY, "reads and writes ONNX models", name);
}

#else

template <typename Function>
Function* onnx_function(const char*) {
  throw Error("this program was built without ONNX (-DTHIMBLE_ONNX=OFF)");
}

#endif

}  // namespace

bool is_onnx_file(const std::string& path) { return path.ends_with(".onnx"); }

nn::Graph import_onnx(const std::string& path, const onnx::ImportOptions& options) {
  using Import = void(const std::string&, const onnx::ImportOptions&, nn::Graph&);
  nn::Graph graph;
  onnx_function<Import>("thimble_onnx_import_model")(path, options, graph);
  return graph;
}

onnx::ModelSummary summarize_onnx(const std::string& path) {
  using Summarize = void(const std::string&, onnx::ModelSummary&);
  onnx::ModelSummary summary;
  onnx_function<Summarize>("thimble_onnx_summarize_model")(path, summary);
  return summary;
}

onnx::ExportReport export_onnx(const nn::Graph& graph, const std::string& path, const onnx::ExportOptions& options) {
  using Export = void(const nn::Graph&, const std::string&, const onnx::ExportOptions&, onnx::ExportReport&);
  onnx::ExportReport report;
  onnx_function<Export>("thimble_onnx_export_model")(graph, path, options, report);
  return report;
}

}  // namespace thimble::apps
