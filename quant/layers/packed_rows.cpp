#include <utility>
#include <vector>

#include <thimble/core/kernels/weight_only/bit_packing.h>
#include <thimble/quant/layers/packed_rows.h>

namespace thimble::quant {

NDArray pack_rows(const NDArray& q, int bits) {
  const NDArray dense = q.contiguous();
  const int64_t rows = q.shape(0), n = q.numel() / rows;
  const int offset = q.dtype() == DType::int8 ? 1 << (bits - 1) : 0;
  NDArray packed({rows, kernels::packed_bytes(n, bits)}, DType::uint8);
  std::vector<uint8_t> row(static_cast<size_t>(n));
  for (int64_t r = 0; r < rows; ++r) {
    const auto* from = static_cast<const uint8_t*>(std::as_const(dense).raw()) + r * n;
    for (size_t i = 0; i < row.size(); ++i) row[i] = static_cast<uint8_t>(from[i] + offset);
    kernels::pack_bits(row.data(), n, bits, packed.data<uint8_t>() + r * packed.shape(1));
  }
  return packed;
}

NDArray unpack_rows(const NDArray& packed, int64_t n, int bits) {
  const NDArray dense = packed.contiguous();
  NDArray rows({packed.shape(0), n}, DType::uint8);
  for (int64_t r = 0; r < packed.shape(0); ++r)
    kernels::unpack_bits(dense.data<uint8_t>() + r * packed.shape(1), n, bits, rows.data<uint8_t>() + r * n);
  return rows;
}

}  // namespace thimble::quant
