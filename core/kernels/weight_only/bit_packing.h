// Integers of few bits, side by side in bytes: how weights of less than 8 bits lie in files.
//
// Value i takes bits [i * bits, (i + 1) * bits) of a stream whose bit j is bit j % 8 of byte j / 8 (little-endian, the
// lowest bit of a value first), padded with zeros to whole bytes. In NumPy, with rows packed one by one:
//
// - `stream = numpy.unpackbits(packed, axis=1, bitorder="little")[:, : count * bits]`
// - `values = stream.reshape(rows, count, bits) @ (1 << numpy.arange(bits))`
#pragma once

#include <cstdint>

namespace thimble::kernels {

/// Bytes that `count` values take. count * bits must fit int64.
int64_t packed_bytes(int64_t count, int bits);

/// values[count] -> out[packed_bytes(count, bits)]. 1 to 8 bits; a value's higher bits are dropped.
void pack_bits(const uint8_t* values, int64_t count, int bits, uint8_t* out);

/// The reverse: packed[packed_bytes(count, bits)] -> values[count].
void unpack_bits(const uint8_t* packed, int64_t count, int bits, uint8_t* values);

}  // namespace thimble::kernels
