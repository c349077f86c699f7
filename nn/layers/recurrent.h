// Recurrent layers: LSTM, GRU, RNN. PyTorch's names, formulas, initial values and options.
//
//   nn::LSTM lstm(28, 128, {.num_layers = 2, .batch_first = true});
//   Tensor features = lstm(x);  // [n, steps, 28] -> [n, steps, 128]
//   Tensor lengths = NDArray::from_vector<int64_t>({28, 5});
//   nn::RecurrentOutput all = lstm.run(x, {}, lengths);  // all.output, all.h_n, all.c_n
#pragma once

#include <vector>

#include <thimble/core/api.h>
#include <thimble/core/ops/recurrent.h>
#include <thimble/nn/module.h>

namespace thimble::nn {

/// What run() begins with: [num_layers * D, n, hidden_size], or one row, [num_layers * D, 1, hidden_size], for all.
/// Undefined ones are 0. D is 2 for both directions, else 1; layer l has rows l * D and, in reverse, l * D + 1.
struct THIMBLE_API RecurrentState {
  Tensor h = {};
  Tensor c = {};  ///< of LSTM alone
};

/// What run() gives.
struct THIMBLE_API RecurrentOutput {
  Tensor output;  ///< h of the last layer at each step, [steps, n, D * hidden_size] or [n, steps, D * hidden_size]
  Tensor h_n;     ///< h of each layer after its last step, [num_layers * D, n, hidden_size]
  Tensor c_n;     ///< the same of the cell; undefined but for LSTM
};

/// Base of LSTM, GRU and RNN. x [steps, n, input_size], or [n, steps, input_size] with batch_first, gives [steps, n, D
/// * hidden_size], or [n, steps, D * hidden_size]. Each layer reads what the one before gives, both directions side by
/// side.
///
/// Parameters of layer l, PyTorch's: weight_ih_l<l> [G * hidden_size, input_size or D * hidden_size], weight_hh_l<l> [G
/// * hidden_size, hidden_size], bias_ih_l<l> and bias_hh_l<l> [G * hidden_size], for G gates, and the same with
/// "_reverse"; uniform over 1 / sqrt(hidden_size) on both sides of 0 at first.
class THIMBLE_API RecurrentLayer : public Module {
 public:
  /// What may follow the numbers of features.
  struct Options {
    int64_t num_layers = 1;
    bool bias = true;
    bool batch_first = false;
    double dropout = 0;  ///< in training: of what each layer but the last gives
    bool bidirectional = false;
  };

  /// Outputs and last states. lengths [n], int64 or int32, where sequences have not all `steps` steps (PyTorch's packed
  /// sequences): behind the end of each, outputs are 0, its state stays, and the reverse direction begins at its last
  /// step. Throws ShapeError for sizes that do not fit, ValueError for lengths that are not from 0 to steps.
  RecurrentOutput run(const Tensor& x, const RecurrentState& initial = {}, const Tensor& lengths = {});

  /// Of x alone, outputs. Of x, h and, of LSTM, c (see RecurrentState), and then of lengths if there are any, as run()
  /// calls it: along the dimension of steps the outputs, then h of each layer, then of LSTM c of each layer, both
  /// directions side by side.
  Tensor forward_all(std::span<const Tensor> inputs) override;
  std::unique_ptr<InferenceStep> inference_step(std::span<const ValueInfo> inputs) const override;
  Attributes attributes() const override;

  int64_t input_size() const { return input_size_; }
  int64_t hidden_size() const { return hidden_size_; }
  const Options& options() const { return options_; }
  /// 2 for both directions, else 1.
  int64_t num_directions() const { return options_.bidirectional ? 2 : 1; }

  /// The parameters of one layer and direction; without biases, those are undefined.
  struct Weights {
    Tensor ih, hh, bias_ih, bias_hh;
  };
  const Weights& weights(int64_t layer, bool reverse = false) const {
    return weights_.at(static_cast<size_t>(layer * num_directions() + (reverse ? 1 : 0)));
  }

 protected:
  /// What differs between the layers besides their formulas.
  struct Kind {
    const char* type;
    int64_t gates, states;
  };
  /// Whether tensors have values, or will get them from a file.
  enum class Tensors { initialized, placeholders };

  /// Throws ValueError for sizes below 1 and options that no layer can have.
  RecurrentLayer(const Kind& kind, int64_t input_size, int64_t hidden_size, const Options& options, Tensors tensors);
  static Options options_of(const Attributes& attributes);

  /// What the op multiplies by, and what becomes of the outputs of one layer on their way to the next.
  virtual Weights used_weights(int64_t layer, bool reverse) { return weights(layer, reverse); }
  virtual Tensor handed_on(const Tensor& outputs) { return outputs; }

 private:
  virtual bool has_relu() const { return false; }
  /// The op: lstm(), gru() or rnn().
  virtual Tensor apply(const Tensor& x, const Weights& weights, const RecurrentOperands& operands,
                       Direction direction) const = 0;
  struct Inputs;
  Inputs checked(std::span<const Tensor> inputs) const;
  Tensor run_layer(const Tensor& x, int64_t layer, const Inputs& inputs);
  Weights stacked_weights(int64_t layer);
  Tensor states_of(const Tensor& packed, int64_t which) const;

  Kind kind_;
  int64_t input_size_, hidden_size_;
  Options options_;
  std::vector<Weights> weights_;
};

/// Long short-term memory, see thimble::lstm; 4 gates in the order i, f, g, o.
class THIMBLE_API LSTM : public RecurrentLayer {
 public:
  using Options = RecurrentLayer::Options;
  /// Throws ValueError for sizes below 1 and dropout outside of [0, 1].
  LSTM(int64_t input_size, int64_t hidden_size, Options options = {});
  template <typename Slip = thimble::detail::NotAnOptionOf<Options>>
  LSTM(int64_t input_size, int64_t hidden_size, ...) = delete;
  /// With attributes() of another, its tensors not set yet. Throws FormatError.
  explicit LSTM(const Attributes& attributes);
  std::string type() const override { return "LSTM"; }

 private:
  Tensor apply(const Tensor& x, const Weights& weights, const RecurrentOperands& operands,
               Direction direction) const override;
};

/// Gated recurrent units, see thimble::gru; 3 gates in the order r, z, n.
class THIMBLE_API GRU : public RecurrentLayer {
 public:
  using Options = RecurrentLayer::Options;
  /// Throws ValueError for sizes below 1 and dropout outside of [0, 1].
  GRU(int64_t input_size, int64_t hidden_size, Options options = {});
  template <typename Slip = thimble::detail::NotAnOptionOf<Options>>
  GRU(int64_t input_size, int64_t hidden_size, ...) = delete;
  /// With attributes() of another, its tensors not set yet. Throws FormatError.
  explicit GRU(const Attributes& attributes);
  std::string type() const override { return "GRU"; }

 private:
  Tensor apply(const Tensor& x, const Weights& weights, const RecurrentOperands& operands,
               Direction direction) const override;
};

/// What nn::RNN applies to its sums.
enum class Nonlinearity { tanh, relu };

/// Elman's network, see thimble::rnn.
class THIMBLE_API RNN : public RecurrentLayer {
 public:
  /// What may follow the numbers of features.
  struct Options {
    int64_t num_layers = 1;
    Nonlinearity nonlinearity = Nonlinearity::tanh;
    bool bias = true;
    bool batch_first = false;
    double dropout = 0;
    bool bidirectional = false;
  };
  /// Throws ValueError for sizes below 1 and dropout outside of [0, 1].
  RNN(int64_t input_size, int64_t hidden_size, Options options);
  RNN(int64_t input_size, int64_t hidden_size) : RNN(input_size, hidden_size, Options()) {}
  template <typename Slip = thimble::detail::NotAnOptionOf<Options>>
  RNN(int64_t input_size, int64_t hidden_size, ...) = delete;
  /// With attributes() of another, its tensors not set yet. Throws FormatError.
  explicit RNN(const Attributes& attributes);
  std::string type() const override { return "RNN"; }
  Attributes attributes() const override;

 private:
  bool has_relu() const override { return nonlinearity_ == Nonlinearity::relu; }
  Tensor apply(const Tensor& x, const Weights& weights, const RecurrentOperands& operands,
               Direction direction) const override;

  Nonlinearity nonlinearity_;
};

}  // namespace thimble::nn
