#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "tests/core/kernels/at.h"
#include <thimble/core/kernels/weight_only/bit_packing.h>

namespace thimble::kernels {
namespace {

std::vector<uint8_t> packed(const std::vector<uint8_t>& values, int bits) {
  const auto count = static_cast<int64_t>(values.size());
  std::vector<uint8_t> out(at(packed_bytes(count, bits)));
  pack_bits(values.data(), count, bits, out.data());
  return out;
}

TEST(BitPacking, EachValueLiesAtItsBits) {
  std::mt19937 rng(1);
  for (int bits = 1; bits <= 8; ++bits)
    for (int64_t count = 0; count <= 70; ++count) {
      std::vector<uint8_t> values(at(count));
      for (uint8_t& v : values) v = static_cast<uint8_t>(rng() % (1u << bits));
      // Exactly as many bytes as promised, so that a sanitizer sees a write or read past them.
      const std::vector<uint8_t> bytes = packed(values, bits);
      const auto bit = [&](int64_t j) { return bytes[at(j / 8)] >> (j % 8) & 1; };
      for (int64_t i = 0; i < count; ++i)
        for (int b = 0; b < bits; ++b) ASSERT_EQ(bit(i * bits + b), values[at(i)] >> b & 1) << bits << " bits, " << i;
      for (int64_t j = count * bits; j < 8 * packed_bytes(count, bits); ++j) ASSERT_EQ(bit(j), 0) << "padding";
      std::vector<uint8_t> back(at(count));
      unpack_bits(bytes.data(), count, bits, back.data());
      ASSERT_EQ(back, values) << bits << " bits";
    }
}

TEST(BitPacking, IsWhatTheHeaderShows) {
  EXPECT_EQ(packed({1, 2, 3}, 4), (std::vector<uint8_t>{0x21, 0x03}));
  EXPECT_EQ(packed({1, 2, 3, 0, 3}, 2), (std::vector<uint8_t>{0b00111001, 0b11}));
  EXPECT_EQ(packed({7, 0, 5}, 3), (std::vector<uint8_t>{0b01000111, 0b1}));
  EXPECT_EQ(packed({200, 100}, 8), (std::vector<uint8_t>{200, 100}));
}

TEST(BitPacking, DropsHigherBits) { EXPECT_EQ(packed({0xff, 0xf2}, 4), (std::vector<uint8_t>{0x2f})); }

TEST(BitPacking, CountsBytes) {
  EXPECT_EQ(packed_bytes(0, 3), 0);
  EXPECT_EQ(packed_bytes(1, 3), 1);
  EXPECT_EQ(packed_bytes(8, 3), 3);
  EXPECT_EQ(packed_bytes(9, 3), 4);
  EXPECT_EQ(packed_bytes(int64_t{1} << 40, 7), (int64_t{7} << 40) / 8);
}

}  // namespace
}  // namespace thimble::kernels
