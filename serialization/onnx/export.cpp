#include <limits>

#include <thimble/core/text.h>
#include <thimble/serialization/atomic_file.h>
#include <thimble/serialization/onnx/export.h>
#include <thimble/serialization/onnx/exporter.h>

namespace thimble::onnx {

ExportReport export_model(const nn::Graph& graph, const std::filesystem::path& path, const ExportOptions& options) {
  Exporter exporter(graph, options);
  const ::onnx::ModelProto model = exporter.run();
  const size_t size = model.ByteSizeLong();
  check<ValueError>(size <= static_cast<size_t>(std::numeric_limits<int32_t>::max()), "export: the model takes ", size,
                    " bytes, a protobuf message at most 2^31 - 1: quantize its weights first");
  std::string bytes;
  check(model.SerializeToString(&bytes), "export: ", detail::quote_path(path), " cannot be serialized");
  AtomicFile file(path);
  file.write(bytes.data(), bytes.size());
  file.commit();
  return exporter.report();
}

}  // namespace thimble::onnx

// For programs that load the library when they need it.
extern "C" THIMBLE_API void thimble_onnx_export_model(const thimble::nn::Graph& graph, const std::string& path,
                                                      const thimble::onnx::ExportOptions& options,
                                                      thimble::onnx::ExportReport& report) {
  report = thimble::onnx::export_model(graph, path, options);
}
