// Recurrent layers of integer products: all steps of one direction or of both. Rows of a batch are divided among
// threads, each of which goes through all steps of its rows; what a row gives depends on that row alone. Internal to
// quant.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <thimble/core/kernels/int8/int8_gemm.h>
#include <thimble/core/kernels/int8/quantize.h>
#include <thimble/core/kernels/recurrent/int8_cells.h>

namespace thimble::quant {

/// W or U of one direction: rows for the gates, [gates * hidden, k].
struct GateWeights {
  std::shared_ptr<const kernels::PackedInt8Weights> packed;
  std::vector<float> step;  ///< of sums, with an operand of scale 1, [gates * hidden]
};

/// Of one layer and direction.
struct RecurrentRowsWeights {
  kernels::CellKind kind;
  int64_t hidden;
  GateWeights ih, hh;
  std::vector<float> bias;    ///< [gates * hidden], or empty
  std::vector<float> n_bias;  ///< gru: of U h in n, [hidden], or empty
};

/// Integers of [steps, n] rows, dense, each row with parameters of its own. A scale that is NaN makes NaN of what the
/// row becomes.
struct IntegerRows {
  uint8_t* data;
  float* scale;
  int32_t* zero_point;
};

constexpr int kStateBits = 8;
/// Where a state's elements are integers of scale s / 127 and this zero point, for a row of states in [-s, s].
constexpr int32_t kStateZeroPoint = 128;
constexpr float kStateSteps = 127;

/// One direction. The state h is rounded to 8 bits for the next step's products: rows of `bound` s to the grid above,
/// those of relu to the range that each has. What else reads it gets it as it is.
struct RecurrentRowsTask {
  const RecurrentRowsWeights* weights;
  int64_t steps, n;
  bool reverse;
  IntegerRows x;
  const int64_t* lengths;  ///< [n]; null: all are `steps`
  const float *h0, *c0;    ///< [n, hidden], rows h0_row and c0_row apart (0: one for all); null: zeros
  int64_t h0_row, c0_row;
  const float* bound;  ///< [n], of the states of each row; NaN where they are not finite
  float* out;          ///< element (t, i, j) at out[t * out_step + i * out_row + j]; null: integers are wanted
  uint8_t* integers;   ///< the same
  int64_t out_step, out_row;
  /// Of the integers; null: those of the state, whose scales go to state_scale [steps, n].
  const kernels::QuantizeArgs* grid;
  float* state_scale;
  float *h_n, *c_n;  ///< the last states, rows last_row apart; null where nobody wants them
  int64_t last_row;
};

/// Of directions of one size.
void run_recurrent_rows(std::span<const RecurrentRowsTask> directions);

}  // namespace thimble::quant
