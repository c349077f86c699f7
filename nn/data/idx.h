// IDX, the format of MNIST's files: big-endian; two zero bytes, a type code, the number of dimensions, each dimension
// in four bytes, then the elements in row-major order (http://yann.lecun.com/exdb/mnist/).
#pragma once

#include <string>

#include <thimble/core/api.h>
#include <thimble/core/ndarray.h>

namespace thimble::data {

/// The array in an IDX file, plain or gzip, told apart by content: uint8, int8, int16, int32, float32 or float64. The
/// file is not trusted: memory grows with the data that really comes, never beyond what the header announces. Throws
/// IOError if it cannot be read, FormatError if its content is not exactly one IDX array.
THIMBLE_API NDArray read_idx(const std::string& path);

}  // namespace thimble::data
