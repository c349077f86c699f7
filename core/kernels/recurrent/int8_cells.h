// What recurrent layers of integer products do to one row of one step behind them: one table of loops for each
// instruction set, all of which give the same bits. Plain data only: sources that are compiled for a newer CPU include
// this.
//
// sigmoid and tanh are quotients of polynomials, to 2e-6, and never 1 or more; what is made of several is divided once.
#pragma once

#include <cstdint>

#include <thimble/core/kernels/recurrent/recurrent_cells.h>

namespace thimble::kernels {

/// A row of a step. Pointers are to `hidden` elements, those of x_part and h_part to one such part for each gate: i, f,
/// g, o or r, z, n.
struct Int8CellRow {
  int64_t hidden;
  const float* x_part;  ///< W x and the biases
  const float* h_part;  ///< U h
  const float* n_bias;  ///< gru: the bias of U h in n
  float* c;             ///< lstm: the cell, which becomes the new one
  float* h;             ///< becomes the new h
};

struct Int8Cells {
  void (*run[4])(const Int8CellRow&);  // by CellKind
  bool (*has_nan)(const float* x, int64_t n);
};

extern const Int8Cells int8_cells_scalar, int8_cells_avx2, int8_cells_avx512;

/// Those of the level in use.
const Int8Cells& int8_cells();

}  // namespace thimble::kernels
