// Recurrent layers over sequences: lstm, gru, rnn. PyTorch's names, order of gates and formulas, with what ONNX has
// besides.
//
//   const Tensor weight_ih = NDArray::zeros({4 * 8, 3}), weight_hh = NDArray::zeros({4 * 8, 8});
//   const Tensor y = lstm(x, weight_ih, weight_hh);  // x [time, batch, 3]
//   const Tensor outputs = slice(y, 0, 0, x.shape(0)), h = slice(y, 0, -2, -1), c = slice(y, 0, -1, y.shape(0));
#pragma once

#include <string>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/core/tensor.h>

namespace thimble {

enum class Direction { forward, reverse, bidirectional };
THIMBLE_API std::string_view name(Direction direction);
/// Throws FormatError for an unknown name.
THIMBLE_API Direction direction_from_name(std::string_view name);

/// What a gate applies: "relu", "tanh", "sigmoid", "affine" (alpha * x + beta), "leaky_relu" (alpha),
/// "thresholded_relu" (x where it is above alpha, else 0), "scaled_tanh" (alpha * tanh(beta * x)), "hard_sigmoid"
/// (alpha * x + beta in [0, 1]), "elu" (alpha), "softsign", "softplus".
struct THIMBLE_API GateActivation {
  std::string name;
  double alpha = 0, beta = 0;
};

/// Options of lstm(), gru() and rnn().
struct THIMBLE_API RecurrentOptions {
  Direction direction = Direction::forward;
  /// For each direction: of lstm, for gates i, f, o, for g and for the cell; of gru, for gates r, z and for n; of rnn
  /// one. Empty: sigmoid for gates, tanh else.
  std::vector<GateActivation> activations = {};
  double clip = 0;             ///< above 0: what goes into activations of gates (not the cell's) is in [-clip, clip]
  bool reset_after = true;     ///< gru: n = f(W x + r * (U h)), as in PyTorch; else f(W x + U (r * h))
  bool couples_gates = false;  ///< lstm: the forget gate is 1 - i

  /// As attributes of an op: "direction", "activations", ...
  void to_attributes(Attributes& attributes) const;
  /// Throws FormatError.
  static RecurrentOptions from_attributes(const Attributes& attributes);
};

/// What need not be given. D is 2 for both directions, else 1; G 4 for lstm, 3 for gru, 1 for rnn.
struct THIMBLE_API RecurrentOperands {
  Tensor bias_ih = {}, bias_hh = {};  ///< [D, G * hidden], both or none
  /// [n], int64 or int32: how many steps of each sequence count. Behind them outputs are 0, and the state stays; the
  /// reverse direction begins at the last one that counts. A sequence of length 0 keeps its initial state.
  Tensor lengths = {};
  Tensor h0 = {};         ///< [D, n, hidden]; zeros
  Tensor c0 = {};         ///< lstm: the same for the cell
  Tensor peepholes = {};  ///< lstm: [D, 3 * hidden]: what i, f and o see of the cell
};

/// Long short-term memory (Hochreiter and Schmidhuber 1997; peepholes: Gers and Schmidhuber 2000). x [steps, n, in],
/// weight_ih [D, 4 * hidden, in], weight_hh [D, 4 * hidden, hidden], gates in the order i, f, g, o -> [steps + 2, D, n,
/// hidden]: the outputs of all steps, then the last h, then the last c. Throws ShapeError for sizes that do not fit,
/// ValueError for lengths beyond the steps and unknown activations.
THIMBLE_API Tensor lstm(const Tensor& x, const Tensor& weight_ih, const Tensor& weight_hh,
                        const RecurrentOperands& operands = {}, const RecurrentOptions& options = {});

/// Gated recurrent units (Cho et al. 2014): gates in the order r, z, n; h' = (1 - z) * n + z * h -> [steps + 1, D, n,
/// hidden]: the outputs, then the last h.
THIMBLE_API Tensor gru(const Tensor& x, const Tensor& weight_ih, const Tensor& weight_hh,
                       const RecurrentOperands& operands = {}, const RecurrentOptions& options = {});

/// Elman's: h' = f(W x + b_ih + U h + b_hh) -> [steps + 1, D, n, hidden]: the outputs, then the last h.
THIMBLE_API Tensor rnn(const Tensor& x, const Tensor& weight_ih, const Tensor& weight_hh,
                       const RecurrentOperands& operands = {}, const RecurrentOptions& options = {});

}  // namespace thimble
