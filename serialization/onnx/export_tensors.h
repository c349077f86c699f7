// Arrays as ONNX's tensors. Internal.
#pragma once

#include <string>

#include <onnx/onnx_pb.h>

#include <thimble/core/ndarray.h>

namespace thimble::onnx {

/// What ONNX numbers the dtype by (TensorProto::DataType). Throws ValueError for one that it lacks.
int32_t onnx_type(DType dtype);

::onnx::TensorProto tensor_of(const std::string& name, const NDArray& array);

/// Integers, int8 or uint8, of `bits`, 2 or 4, packed: the first element in the lowest bits of the first byte.
::onnx::TensorProto packed_tensor(const std::string& name, const NDArray& integers, int bits);

}  // namespace thimble::onnx
