// The header of a .npy file: a Python dict of three entries. Internal to serialization.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include <thimble/core/dtype.h>
#include <thimble/core/shape.h>

namespace thimble::detail {

/// Beyond any real header, and what version 1.0 can hold.
inline constexpr size_t kMaxNpyHeaderBytes = 65535;

struct NpyHeader {
  std::string_view descr;  ///< as in the file, "<f4"; a view of what was parsed
  DType dtype = DType::float32;
  bool big_endian = false;
  bool fortran_order = false;
  Shape shape;
};

/// Reads an untrusted header, "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }", its entries in any order.
/// The result is sound: the bytes of the array can be counted. Throws FormatError, one line, for anything else.
NpyHeader parse_npy_header(std::string_view text);

/// The dict, without padding. The dtype is not bfloat16.
std::string format_npy_header(DType dtype, const Shape& shape);

}  // namespace thimble::detail
