// ONNX's tensors as arrays. Internal.
#pragma once

#include <filesystem>

#include <onnx/onnx_pb.h>

#include <thimble/core/ndarray.h>

namespace thimble::onnx {

/// The dtype that ONNX numbers so (TensorProto::DataType). Throws FormatError for one that Thimble lacks.
DType dtype_from_onnx(int32_t data_type);

/// The tensor's elements; float16 and bfloat16 as float32. Those of another file are read from `folder`, where they
/// must be. Throws FormatError for data of another length than the shape asks for, IOError for a file that cannot be
/// read.
NDArray array_of(const ::onnx::TensorProto& tensor, const std::filesystem::path& folder);

}  // namespace thimble::onnx
