// The transforms of winograd.h, one table of them for each instruction set. Plain data only: sources that are compiled
// for a newer CPU include this.
#pragma once

#include <cstdint>

namespace thimble::kernels {

/// 4x4 pixels of a number of channels, and where their 16 sums go: the first channel's to sums, sums + step, ...
struct WinogradInput {
  const float* pixels[4][4];
  int64_t channels;
  float* sums;
  int64_t step;
};

/// The 16 products of a tile, and its 2x2 outputs, of which those beyond the image are null.
struct WinogradOutput {
  const float* products;
  int64_t step, channels;
  float* y[2][2];
  const float* addend[2][2];
  bool has_addend, clamps;
  const float* bias;  ///< may be null
  float lower, upper;
};

struct WinogradTable {
  void (*input)(const WinogradInput&);
  void (*output)(const WinogradOutput&);
};
extern const WinogradTable winograd_scalar, winograd_avx2, winograd_avx512;

}  // namespace thimble::kernels
