// Numbers of types that ONNX's messages of older versions do not name (TensorProto::DataType). Internal.
#pragma once

#include <cstdint>

namespace thimble::onnx {

enum NewerType : int32_t {
  kFloat8E4M3FN = 17,
  kFloat8E4M3FNUZ = 18,
  kFloat8E5M2 = 19,
  kFloat8E5M2FNUZ = 20,
  kUint4 = 21,
  kInt4 = 22,
  kFloat4E2M1 = 23,
  kUint2 = 25,
  kInt2 = 26
};

}  // namespace thimble::onnx
