// ONNX's tensors as arrays. Internal.
#pragma once

#include <string_view>

#include <onnx/onnx_pb.h>

#include <thimble/core/ndarray.h>
#include <thimble/serialization/onnx/data_files.h>

namespace thimble::onnx {

/// The dtype that ONNX numbers so (TensorProto::DataType). Throws FormatError for one that Thimble lacks.
DType dtype_from_onnx(int32_t data_type);

/// "uint4", "int4", "uint2", "int2" and "float8e4m3fn", ..., "float4e2m1" for the types that array_of() makes wider
/// arrays of; else empty.
std::string_view name_of_small_type(int32_t data_type);

/// Bytes from which on elements stay in their file until somebody asks for them.
inline constexpr size_t kLargeTensor = size_t{64} << 10;

/// The tensor's elements; float16, bfloat16 and floats of 8 and 4 bits as float32, integers of 4 and 2 bits in bytes
/// (int8 or uint8). Throws FormatError for data of another length than the shape asks for or outside of the model's
/// folder, IOError for a file that cannot be read.
NDArray array_of(const ::onnx::TensorProto& tensor, const DataFiles& files);

/// The file in which the elements of a tensor with external data lie. Throws as DataFiles::open() does.
std::shared_ptr<const MappedFile> external_file(const ::onnx::TensorProto& tensor, const DataFiles& files);

}  // namespace thimble::onnx
