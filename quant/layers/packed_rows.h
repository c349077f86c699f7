// Weights of few bits as files hold them. Internal to quant.
#pragma once

#include <thimble/core/ndarray.h>

namespace thimble::quant {

/// q, integers of so many bits [rows, ...], int8 or uint8 -> uint8 [rows, bytes], the elements of each row packed (see
/// kernels::pack_bits): signed ones as q + 2^(bits - 1), as ONNX's MatMulNBits has them.
NDArray pack_rows(const NDArray& q, int bits);

/// The reverse, unsigned: uint8 [rows, n].
NDArray unpack_rows(const NDArray& packed, int64_t n, int bits);

}  // namespace thimble::quant
