#include <cerrno>
#include <cstdio>
#include <memory>

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl.h>

#include <thimble/core/error.h>
#include <thimble/core/platform/io_error.h>
#include <thimble/core/text.h>
#include <thimble/serialization/onnx/model_file.h>

namespace thimble::onnx {

namespace {

constexpr int64_t kOldestOpset = 1, kNewestOpset = 25;

struct Closed {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

}  // namespace

::onnx::ModelProto read_model(const std::filesystem::path& path) {
  const std::unique_ptr<std::FILE, Closed> file(std::fopen(path.c_str(), "rbe"));
  if (!file) detail::throw_io_error("open", path, errno);
  google::protobuf::io::FileInputStream stream(fileno(file.get()));
  ::onnx::ModelProto model;
  const bool is_sound = model.ParseFromZeroCopyStream(&stream);
  if (stream.GetErrno() != 0) detail::throw_io_error("read", path, stream.GetErrno());
  check<FormatError>(is_sound && model.has_graph(),
                     "it is no ONNX model: expected a protobuf message ModelProto with a ", "graph");
  return model;
}

int64_t declared_opset(const ::onnx::ModelProto& model) {
  int64_t version = 0;
  for (const auto& opset : model.opset_import())
    if (opset.domain().empty() || opset.domain() == "ai.onnx") version = opset.version();
  return version;
}

int64_t checked_opset(int64_t version) {
  check<FormatError>(version >= kOldestOpset && version <= kNewestOpset, "it is of opset ", version, ", expected ",
                     kOldestOpset, " to ", kNewestOpset);
  return version;
}

int64_t opset_of(const ::onnx::ModelProto& model) { return checked_opset(declared_opset(model)); }

}  // namespace thimble::onnx
