// Recurrent layers: all steps of one direction or of both. Rows of a batch are divided among threads, each of which
// goes through all steps of its rows; of float32, what a row gives depends on that row alone. Products of float64 are
// OpenBLAS's (gemm_serial), where the last bits of a row may depend on how many rows are multiplied at once, and so on
// the batch and the number of threads.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <thimble/core/kernels/gemm/packed_gemm.h>
#include <thimble/core/kernels/recurrent/recurrent_cells.h>

namespace thimble::kernels {

/// A right operand [k, n], of which element (p, j) lies at data[p * row_stride + j * col_stride]: floats are packed,
/// float64 stays where it is.
template <typename T>
class StepMatrix {
 public:
  StepMatrix(const T* data, int64_t k, int64_t n, int64_t row_stride, int64_t col_stride);
  /// c [m, n], dense, becomes a [m, k], rows lda apart, times this, plus bias and addend [m, n], unless null.
  void multiply(const T* a, int64_t lda, int64_t m, T* c, const T* bias, const T* addend = nullptr) const;
  int64_t k() const { return k_; }
  int64_t n() const { return n_; }
  int64_t nbytes() const { return k_ * n_ * static_cast<int64_t>(sizeof(T)); }

 private:
  int64_t k_, n_, row_stride_, col_stride_;
  const T* data_;
  std::unique_ptr<PackedMatrix> packed_;
};

/// Of one direction, as the steps read them. Arrays of gates * hidden rows, and the biases, null for none.
template <typename T>
class RecurrentWeights {
 public:
  RecurrentWeights(CellKind kind, int64_t in, int64_t hidden, const T* ih, const T* hh, const T* bias_ih,
                   const T* bias_hh);
  CellKind kind() const { return kind_; }
  int64_t in() const { return ih_.k(); }
  int64_t hidden() const { return hh_.k(); }
  /// gates * hidden
  int64_t wide() const { return hh_.n(); }
  const StepMatrix<T>& ih() const { return ih_; }
  const StepMatrix<T>& hh() const { return hh_; }
  /// Added to W x, and to U h; null for none.
  const T* x_bias() const { return x_bias_.empty() ? nullptr : x_bias_.data(); }
  const T* h_bias() const { return h_bias_.empty() ? nullptr : h_bias_.data(); }
  int64_t nbytes() const { return ih_.nbytes() + hh_.nbytes(); }

 private:
  CellKind kind_;
  StepMatrix<T> ih_, hh_;
  std::vector<T> x_bias_, h_bias_;
};

/// What the gradient reads: [steps, n, ...].
template <typename T>
struct RecurrentKept {
  T* gates = nullptr;     ///< [steps, n, gates * hidden]
  T* kept = nullptr;      ///< [steps, n, hidden], see CellRow
  T* h_before = nullptr;  ///< [steps, n, hidden]: h that each step began with
};

/// One direction.
template <typename T>
struct RecurrentTask {
  const RecurrentWeights<T>* weights;
  int64_t steps, n;
  bool reverse;
  const T* x;  ///< element (t, i, j) at x[t * x_step + i * x_row + j]
  int64_t x_step, x_row;
  const int64_t* lengths;  ///< [n]; null: all are `steps`
  const T *h0, *c0;        ///< [n, hidden], rows h0_row and c0_row apart (0: one for all); null: zeros
  int64_t h0_row, c0_row;
  T* out;  ///< element (t, i, j) at out[t * out_step + i * out_row + j]
  int64_t out_step, out_row;
  T *h_n, *c_n;  ///< the last states, rows last_row apart; null where nobody wants them
  int64_t last_row;
  RecurrentKept<T> kept = {};  ///< null in inference
};

/// Of directions of one size.
template <typename T>
void run_recurrent(std::span<const RecurrentTask<T>> directions);

/// One direction backward. Arrays are dense but for gradients of the outputs.
template <typename T>
struct RecurrentGradientTask {
  CellKind kind;
  const StepMatrix<T>* hh;  ///< [gates * hidden, hidden]
  int64_t steps, n;
  bool reverse;
  const int64_t* lengths;
  const T* c0;  ///< [n, hidden]; null: zeros
  RecurrentKept<T> kept;
  const T* out_grad;  ///< element (t, i, j) at out_grad[t * out_step + i * out_row + j]
  int64_t out_step, out_row;
  T *d_gates, *d_h_part;  ///< [steps, n, gates * hidden]; one but for gru
  T *dh, *dc;             ///< [n, hidden]: gradients of the last states, which become those of the first
};

template <typename T>
void run_recurrent_gradient(std::span<const RecurrentGradientTask<T>> directions);

}  // namespace thimble::kernels
