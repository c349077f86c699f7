// Recurrent layers whose products are of integers.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/nn/layers/recurrent.h>
#include <thimble/quant/layers/quantized_layer.h>

namespace thimble::quant {

struct RecurrentRowsWeights;

/// nn::LSTM, nn::GRU or nn::RNN with integer weights, a scale for each row of each gate: types QuantizedLSTM,
/// QuantizedGRU and QuantizedRNN. It takes and gives what the float layer does, in evaluation mode.
///
/// x is uint8 of parameters that were observed (static), or float32, of which each sample gets a range of its own at
/// each step (dynamic). For the products of the next step and of the next layer h is rounded to 8 bits over [-1, 1],
/// which holds all that tanh gives (or over the range of the initial h, of a sample that begins beyond), but h of a
/// relu to the range that each sample has at each step. Sums are int32 and exact; biases, gates, the cell and h, as
/// what it is blended with and as what the layer gives, are float32. Without output parameters it gives float32, and
/// so it does where it is called with states.
///
/// A NaN or infinity makes NaN of its sample from there on. Bit-identical on every instruction set, thread count and
/// batch split. The state holds the float layer's parameters by their names: `weight_ih_l0` as IntegerWeights describes
/// them, `weight_ih_l0_scale`, `bias_ih_l0` in float32, and so on.
class THIMBLE_API QuantizedRecurrent : public IntegerLayer {
 public:
  enum class Cell { lstm, gru, tanh_rnn, relu_rnn };

  /// What the layer is made with.
  struct Config {
    Cell cell = Cell::lstm;
    int64_t input_size = 0, hidden_size = 0;
    int64_t num_layers = 1;
    bool bias = true;
    bool batch_first = false;
    bool bidirectional = false;
    int weight_bits = 8;
    int activation_bits = 8;                            ///< of x, where it is float32
    std::optional<TensorQParams> input = std::nullopt;  ///< of x, where it is uint8
    std::optional<TensorQParams> output = std::nullopt;
  };

  /// How from_float() quantizes.
  struct Quantization {
    WeightQuantization weight = {};
    int activation_bits = 8;
    std::optional<TensorQParams> input = std::nullopt, output = std::nullopt;
    /// In place of `weight`, those of weight_ih and weight_hh of each layer and direction, one behind the other.
    std::vector<QParams> weight_qparams = {};
  };

  /// Tensors are to come by load_state(). Throws ValueError for sizes that are out of range, sums that are too long, or
  /// parameters that are not sound.
  explicit QuantizedRecurrent(const Config& config);
  /// Throws ValueError for weights that are no float32 or not finite, or parameters that integer weights cannot have.
  static std::shared_ptr<QuantizedRecurrent> from_float(const nn::RecurrentLayer& layer,
                                                        const Quantization& quantization);
  /// Throws FormatError.
  static Config config_from(Cell cell, const Attributes& attributes);

  std::string type() const override;
  Attributes attributes() const override;
  bool is_per_sample() const override { return false; }
  std::unique_ptr<nn::InferenceStep> inference_step(std::span<const nn::ValueInfo> inputs) const override;

  const Config& config() const { return config_; }
  int64_t num_directions() const { return config_.bidirectional ? 2 : 1; }

  /// The parameters of one layer and direction; without biases, those are undefined.
  struct Weights {
    IntegerWeights ih, hh;
    Tensor bias_ih, bias_hh;
  };
  const Weights& weights(int64_t layer, bool reverse = false) const {
    return weights_.at(static_cast<size_t>(layer * num_directions() + (reverse ? 1 : 0)));
  }

 private:
  void check_inputs(std::span<const nn::ValueInfo> inputs) const override;
  void state_changed() override;
  RecurrentRowsWeights rows_weights(const Weights& weights) const;

  Config config_;
  std::vector<Weights> weights_;
  bool loaded_ = false;
};

}  // namespace thimble::quant
