#include <thimble/core/kernels/weight_only/bit_packing.h>

namespace thimble::kernels {

int64_t packed_bytes(int64_t count, int bits) { return (count * bits + 7) / 8; }

void pack_bits(const uint8_t* values, int64_t count, int bits, uint8_t* out) {
  const uint32_t mask = (1u << bits) - 1;
  uint32_t pending = 0;  // bits that do not fill a byte yet
  int pending_bits = 0;
  for (int64_t i = 0; i < count; ++i) {
    pending |= (values[i] & mask) << pending_bits;
    pending_bits += bits;
    if (pending_bits >= 8) {
      *out++ = static_cast<uint8_t>(pending);
      pending >>= 8;
      pending_bits -= 8;
    }
  }
  if (pending_bits > 0) *out = static_cast<uint8_t>(pending);
}

void unpack_bits(const uint8_t* packed, int64_t count, int bits, uint8_t* values) {
  const uint32_t mask = (1u << bits) - 1;
  uint32_t pending = 0;
  int pending_bits = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (pending_bits < bits) {
      pending |= uint32_t{*packed++} << pending_bits;
      pending_bits += 8;
    }
    values[i] = static_cast<uint8_t>(pending & mask);
    pending >>= bits;
    pending_bits -= bits;
  }
}

}  // namespace thimble::kernels
