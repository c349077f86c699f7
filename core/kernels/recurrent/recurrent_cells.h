// What recurrent layers do to one row of one step, besides products: one table of loops for each instruction set. Plain
// data only: sources that are compiled for a newer CPU include this.
#pragma once

#include <cstdint>

namespace thimble::kernels {

enum class CellKind { lstm, gru, tanh_rnn, relu_rnn };

/// Parts of `hidden` elements in W x.
constexpr int64_t gates_of(CellKind kind) { return kind == CellKind::lstm ? 4 : kind == CellKind::gru ? 3 : 1; }

/// A row of a step. Pointers are to `hidden` elements, those of gates and h_part to one such part for each gate: i, f,
/// g, o or r, z, n.
template <typename T>
struct CellRow {
  int64_t hidden;
  T* gates;         ///< W x and its bias; becomes the gates' values
  const T* h_part;  ///< U h and its bias
  const T* before;  ///< lstm: the cell, which may be `kept`
  T* kept;          ///< lstm: the new cell; gru: h_part of n
  T* h;             ///< becomes the new h
  T* out;           ///< the same
};

/// The same backward.
template <typename T>
struct CellGradient {
  int64_t hidden;
  const T* gates;     ///< their values
  const T* before;    ///< lstm: the cell that the step began with
  const T* kept;      ///< as the step left it
  const T* h_before;  ///< gru: h that the step began with
  const T* out_grad;  ///< of the step's output
  const T* dh;        ///< of h as a later step saw it
  T* direct;          ///< of the h that the step began with, without that by way of U h
  T* dc;              ///< lstm: of the cell; becomes that of the one before
  T* d_gates;         ///< of W x
  T* d_h_part;        ///< gru: of U h; for the others it is d_gates
};

template <typename T>
struct RecurrentCells {
  using Forward = void (*)(const CellRow<T>&);
  using Backward = void (*)(const CellGradient<T>&);
  Forward forward[4];  // by CellKind
  Backward backward[4];
};

extern const RecurrentCells<float> recurrent_cells_scalar, recurrent_cells_avx2, recurrent_cells_avx512;

/// Those of the level in use; float64 by the C library's functions.
template <typename T>
const RecurrentCells<T>& recurrent_cells();

}  // namespace thimble::kernels
