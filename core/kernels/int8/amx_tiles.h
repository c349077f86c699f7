// The instructions of AMX, by hand because the compilers' intrinsics do not say that they read and write memory.
#pragma once

#include <cstdint>

namespace thimble::kernels {
namespace {

constexpr int64_t kTileRows = 16, kRowBytes = 64, kTileBytes = kTileRows * kRowBytes;

struct TileRows {
  int64_t of[8];
};

// Tiles of so many rows, of so many bytes each.
[[maybe_unused]] void configure_tiles(const TileRows& rows,
                                      const TileRows& row_bytes = {{kRowBytes, kRowBytes, kRowBytes, kRowBytes,
                                                                    kRowBytes, kRowBytes, kRowBytes, kRowBytes}}) {
  struct alignas(64) {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
  } config = {};
  config.palette = 1;
  for (int tile = 0; tile < 8; ++tile) {
    config.row_bytes[tile] = static_cast<uint16_t>(rows.of[tile] > 0 ? row_bytes.of[tile] : 0);
    config.rows[tile] = static_cast<uint8_t>(rows.of[tile]);
  }
  asm volatile("ldtilecfg %0" ::"m"(config));
}

template <int Tile>
void tile_zero() {
  asm volatile("tilezero %%tmm%c0" ::"i"(Tile));
}
template <int Tile>
void tile_load(const void* p, int64_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(p), "r"(stride), "i"(Tile));
}
// For what is read once: asks not to displace the rest of the first level cache.
template <int Tile>
void tile_stream(const void* p) {
  asm volatile("tileloaddt1 (%0,%1,1), %%tmm%c2" ::"r"(p), "r"(kRowBytes), "i"(Tile));
}
template <int Tile>
void tile_store(void* p, int64_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(p), "r"(stride), "i"(Tile) : "memory");
}
// Adds the products of uint8 rows and int8 weights to the sums.
template <int Sums, int Rows, int Weights>
void multiply_unsigned_signed() {
  asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(Sums), "i"(Rows), "i"(Weights));
}
// The same of int8 rows and uint8 weights.
template <int Sums, int Rows, int Weights>
void multiply_signed_unsigned() {
  asm volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(Sums), "i"(Rows), "i"(Weights));
}

// Adds the products of pairs of bfloat16, in the order that gemm/bf16_order.h describes.
template <int Sums, int Left, int Right>
void multiply_bf16_pairs() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(Sums), "i"(Left), "i"(Right));
}

}  // namespace
}  // namespace thimble::kernels
