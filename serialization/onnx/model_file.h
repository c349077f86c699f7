// An ONNX file as protobuf's classes have it. Internal.
#pragma once

#include <filesystem>

#include <onnx/onnx_pb.h>

#include <thimble/serialization/onnx/data_files.h>

namespace thimble::onnx {

/// Raw bytes of the graph's large initializers are not in the message: those tensors say that they are external data,
/// of the model's own file.
struct ModelFile {
  ::onnx::ModelProto proto;
  DataFiles data;
};

/// `mapped` is as ImportOptions have it. Throws IOError for a file that cannot be read, FormatError for one that is no
/// ONNX model or of an opset that is not covered.
ModelFile read_model(const std::filesystem::path& path, bool mapped = true);

/// The version of ai.onnx that the model says its ops are of; 0 if it says none.
int64_t declared_opset(const ::onnx::ModelProto& model);
/// The same; throws FormatError if it is not covered.
int64_t opset_of(const ::onnx::ModelProto& model);
/// The version itself; throws FormatError if it is not covered.
int64_t checked_opset(int64_t version);

}  // namespace thimble::onnx
