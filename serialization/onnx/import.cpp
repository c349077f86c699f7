#include <thimble/core/text.h>
#include <thimble/serialization/onnx/handlers.h>
#include <thimble/serialization/onnx/import.h>
#include <thimble/serialization/onnx/importer.h>
#include <thimble/serialization/onnx/model_file.h>

namespace thimble::onnx {

namespace {

// Errors that the function throws name the file.
template <typename Function>
auto reading_model(const std::filesystem::path& path, Function function) {
  constexpr size_t kLongest = 4000;
  const auto message = [&](const Error& e) {
    return str(detail::quote_path(path), ": ", detail::printable(e.what(), kLongest));
  };
  try {
    return function();
  } catch (const IOError&) {
    throw;
  } catch (const ValueError& e) {
    throw ValueError(message(e));
  } catch (const Error& e) {
    throw FormatError(message(e));
  }
}

}  // namespace

nn::Graph import_model(const std::filesystem::path& path, const ImportOptions& options) {
  return reading_model(path, [&] {
    const ModelFile model = read_model(path, options.mapped);
    nn::Graph graph = Importer(model.proto, model.data, options).run();
    model.data.forget();
    return graph;
  });
}

ModelSummary summarize_model(const std::filesystem::path& path) {
  return reading_model(path, [&] {
    const ::onnx::ModelProto model = read_model(path).proto;
    ModelSummary summary;
    summary.opset = declared_opset(model);
    summary.ir_version = model.ir_version();
    summary.producer = model.producer_name();
    std::map<std::string, int64_t> counts;
    for (const ::onnx::NodeProto& node : model.graph().node()) ++counts[qualified_op(node)];
    for (const auto& [op, count] : counts) summary.ops.push_back({op, count, handler_of(op) != nullptr});
    return summary;
  });
}

}  // namespace thimble::onnx

// For programs that load the library when they need it.
extern "C" THIMBLE_API void thimble_onnx_import_model(const std::string& path,
                                                      const thimble::onnx::ImportOptions& options,
                                                      thimble::nn::Graph& graph) {
  graph = thimble::onnx::import_model(path, options);
}

extern "C" THIMBLE_API void thimble_onnx_summarize_model(const std::string& path,
                                                         thimble::onnx::ModelSummary& summary) {
  summary = thimble::onnx::summarize_model(path);
}
