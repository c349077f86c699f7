#include <cmath>
#include <limits>

#include <thimble/quant/layers/product_kernel.h>
#include <thimble/quant/layers/quantized_recurrent.h>
#include <thimble/quant/layers/recurrent_integer_step.h>

namespace thimble::quant {

namespace {

using Cell = QuantizedRecurrent::Cell;

template <Cell cell>
std::shared_ptr<nn::Module> quantized_recurrent_from(const Attributes& attributes) {
  return std::make_shared<QuantizedRecurrent>(QuantizedRecurrent::config_from(cell, attributes));
}

const nn::LayerRegistration quantized_recurrent_registrations[] = {
    {"QuantizedLSTM", quantized_recurrent_from<Cell::lstm>},
    {"QuantizedGRU", quantized_recurrent_from<Cell::gru>},
    {"QuantizedRNN", quantized_recurrent_from<Cell::tanh_rnn>},
};

bool is_rnn(Cell cell) { return cell == Cell::tanh_rnn || cell == Cell::relu_rnn; }

const char* type_name(Cell cell) {
  return cell == Cell::lstm ? "QuantizedLSTM" : cell == Cell::gru ? "QuantizedGRU" : "QuantizedRNN";
}

kernels::CellKind kind_of(Cell cell) {
  switch (cell) {
    case Cell::lstm:
      return kernels::CellKind::lstm;
    case Cell::gru:
      return kernels::CellKind::gru;
    case Cell::tanh_rnn:
      return kernels::CellKind::tanh_rnn;
    case Cell::relu_rnn:
      break;
  }
  return kernels::CellKind::relu_rnn;
}

Cell cell_of(const nn::RecurrentLayer& layer) {
  if (dynamic_cast<const nn::LSTM*>(&layer)) return Cell::lstm;
  if (dynamic_cast<const nn::GRU*>(&layer)) return Cell::gru;
  return layer.attributes().get<std::string>("nonlinearity") == "relu" ? Cell::relu_rnn : Cell::tanh_rnn;
}

int64_t states_of(Cell cell) { return cell == Cell::lstm ? 2 : 1; }

std::string place_of(int64_t layer, int64_t direction) { return str("_l", layer, direction == 1 ? "_reverse" : ""); }

void check_config(const QuantizedRecurrent::Config& c) {
  constexpr int64_t kMost = kernels::PackedInt8Weights::kMaxK, kMostLayers = 1024;
  const char* type = type_name(c.cell);
  for (const auto& [name, size, most] :
       {std::tuple("input_size", c.input_size, kMost), std::tuple("hidden_size", c.hidden_size, kMost),
        std::tuple("num_layers", c.num_layers, kMostLayers)})
    check<ValueError>(size > 0 && size <= most, type, ": ", name, ' ', size, " is not from 1 to ", most);
  check_bits(c.activation_bits, str(type, ": activations"));
  if (c.input) c.input->check(str(type, ": input").c_str());
  if (c.output) c.output->check(str(type, ": output").c_str());
}

void check_finite(const char* type, const Tensor& bias) {
  if (!bias.defined()) return;
  for (const float b : bias.data().to_vector<float>())
    check<ValueError>(std::isfinite(b), type, ": bias ", b, " is not finite");
}

GateWeights gate_weights(const IntegerWeights& weights) { return {packed_rows(weights), weights.steps()}; }

}  // namespace

QuantizedRecurrent::QuantizedRecurrent(const Config& c) : config_(c) {
  check_config(c);
  const int64_t wide = kernels::gates_of(kind_of(c.cell)) * c.hidden_size;
  const auto integers = [&](const std::string& name, int64_t in) {
    IntegerWeights weights(type_name(c.cell), {wide, in}, {c.weight_bits, 0});
    register_buffer(name, weights.values());
    register_buffer(name + "_scale", weights.scale());
    return weights;
  };
  for (int64_t layer = 0; layer < c.num_layers; ++layer)
    for (int64_t d = 0; d < num_directions(); ++d) {
      const std::string place = place_of(layer, d);
      const int64_t in = layer == 0 ? c.input_size : num_directions() * c.hidden_size;
      Weights w{integers("weight_ih" + place, in), integers("weight_hh" + place, c.hidden_size), {}, {}};
      if (c.bias) {
        w.bias_ih = register_buffer("bias_ih" + place, NDArray::placeholder({wide}));
        w.bias_hh = register_buffer("bias_hh" + place, NDArray::placeholder({wide}));
      }
      weights_.push_back(std::move(w));
    }
}

std::shared_ptr<QuantizedRecurrent> QuantizedRecurrent::from_float(const nn::RecurrentLayer& layer,
                                                                   const Quantization& q) {
  const nn::RecurrentLayer::Options& o = layer.options();
  const auto result = std::make_shared<QuantizedRecurrent>(Config{.cell = cell_of(layer),
                                                                  .input_size = layer.input_size(),
                                                                  .hidden_size = layer.hidden_size(),
                                                                  .num_layers = o.num_layers,
                                                                  .bias = o.bias,
                                                                  .batch_first = o.batch_first,
                                                                  .bidirectional = o.bidirectional,
                                                                  .weight_bits = q.weight.spec.bits,
                                                                  .activation_bits = q.activation_bits,
                                                                  .input = q.input,
                                                                  .output = q.output});
  NamedArrays arrays;
  size_t count = 0;
  const auto add = [&](const std::string& name, const Tensor& weight, const IntegerWeights& integers) {
    const QParams qparams = q.weight_qparams.empty() ? q.weight.qparams(weight.data()) : q.weight_qparams.at(count++);
    const IntegerWeights::State state = integers.quantize(weight.data(), qparams);
    arrays.emplace_back(name, state.values);
    arrays.emplace_back(name + "_scale", state.scale);
  };
  for (int64_t l = 0; l < o.num_layers; ++l)
    for (int64_t d = 0; d < layer.num_directions(); ++d) {
      const auto& from = layer.weights(l, d == 1);
      const Weights& to = result->weights(l, d == 1);
      const std::string place = place_of(l, d);
      add("weight_ih" + place, from.ih, to.ih);
      add("weight_hh" + place, from.hh, to.hh);
      if (!o.bias) continue;
      arrays.emplace_back("bias_ih" + place, from.bias_ih.data().clone());
      arrays.emplace_back("bias_hh" + place, from.bias_hh.data().clone());
    }
  result->load_state(arrays);
  return result;
}

void QuantizedRecurrent::state_changed() {
  IntegerLayer::state_changed();
  for (const Weights& w : weights_) {
    (void)w.ih.steps();  // throws for scales that are none
    (void)w.hh.steps();
    check_finite(type_name(config_.cell), w.bias_ih);
    check_finite(type_name(config_.cell), w.bias_hh);
  }
  loaded_ = true;
}

std::string QuantizedRecurrent::type() const { return type_name(config_.cell); }

Attributes QuantizedRecurrent::attributes() const {
  Attributes a{{"input_size", config_.input_size},           {"hidden_size", config_.hidden_size},
               {"num_layers", config_.num_layers},           {"bias", config_.bias},
               {"batch_first", config_.batch_first},         {"bidirectional", config_.bidirectional},
               {"weight_bits", int64_t{config_.weight_bits}}};
  if (is_rnn(config_.cell)) a.set("nonlinearity", std::string(config_.cell == Cell::relu_rnn ? "relu" : "tanh"));
  if (config_.input)
    config_.input->to_attributes(a, "input_");
  else
    a.set("activation_bits", int64_t{config_.activation_bits});
  if (config_.output) config_.output->to_attributes(a, "output_");
  return a;
}

QuantizedRecurrent::Config QuantizedRecurrent::config_from(Cell cell, const Attributes& a) {
  const auto parameters = [&](const std::string& prefix) -> std::optional<TensorQParams> {
    if (!a.contains(prefix + "scale")) return std::nullopt;
    return TensorQParams::from_attributes(a, prefix);
  };
  if (is_rnn(cell)) {
    const auto name = a.get<std::string>("nonlinearity");
    check<FormatError>(name == "tanh" || name == "relu", "QuantizedRNN: nonlinearity '", name, "' is not tanh or relu");
    cell = name == "relu" ? Cell::relu_rnn : Cell::tanh_rnn;
  }
  const auto bits = a.get<int64_t>("activation_bits", int64_t{8});
  check<FormatError>(bits >= 2 && bits <= 8, "attribute 'activation_bits' is ", bits, ", expected 2 to 8");
  return {.cell = cell,
          .input_size = a.get<int64_t>("input_size"),
          .hidden_size = a.get<int64_t>("hidden_size"),
          .num_layers = a.get<int64_t>("num_layers"),
          .bias = a.get<bool>("bias"),
          .batch_first = a.get<bool>("batch_first"),
          .bidirectional = a.get<bool>("bidirectional"),
          .weight_bits = IntegerWeights::Format::from_attributes(a).bits,
          .activation_bits = static_cast<int>(bits),
          .input = parameters("input_"),
          .output = parameters("output_")};
}

void QuantizedRecurrent::check_inputs(std::span<const nn::ValueInfo> inputs) const {
  const char* type = type_name(config_.cell);
  const int64_t states = states_of(config_.cell), count = std::ssize(inputs);
  check<ValueError>(count == 1 || count == 1 + states || count == 2 + states, type, ": takes x, or x, ", states,
                    " initial state", states > 1 ? "s" : "", " and lengths, got ", count, " inputs");
  check<ValueError>(count == 1 || !config_.output, type, ": gives no integers where it is called with states");
  const nn::ValueInfo& x = inputs[0];
  const DType expected = config_.input ? DType::uint8 : DType::float32;
  check<DTypeError>(x.dtype == expected, type, ": expects ", expected, " input, got ", x.dtype);
  check<ShapeError>(x.shape.ndim() == 3 && x.shape[2] == config_.input_size, type, ": expects x [",
                    config_.batch_first ? "n, steps, " : "steps, n, ", config_.input_size, "], got ", x.shape);
  const int64_t rows = config_.num_layers * num_directions(), n = x.shape[config_.batch_first ? 0 : 1];
  for (int64_t i = 1; i < std::min(count, 1 + states); ++i) {
    const nn::ValueInfo& state = inputs[static_cast<size_t>(i)];
    check<DTypeError>(state.dtype == DType::float32, type, ": expects float32 states, got ", state.dtype);
    check<ShapeError>(
        state.shape == Shape{rows, n, config_.hidden_size} || state.shape == Shape{rows, 1, config_.hidden_size}, type,
        ": ", i == 1 ? "h" : "c", " must be [", rows, ", ", n, " or 1, ", config_.hidden_size, "], got ", state.shape);
  }
  if (count < 2 + states) return;
  const nn::ValueInfo& lengths = inputs.back();
  check<DTypeError>(lengths.dtype == DType::int64 || lengths.dtype == DType::int32, type,
                    ": lengths must be int64 or int32, got ", lengths.dtype);
  check<ShapeError>(lengths.shape == Shape{n}, type, ": lengths must be [", n, "], got ", lengths.shape);
}

RecurrentRowsWeights QuantizedRecurrent::rows_weights(const Weights& w) const {
  RecurrentRowsWeights rows{kind_of(config_.cell), config_.hidden_size, gate_weights(w.ih), gate_weights(w.hh), {}, {}};
  if (!config_.bias) return rows;
  rows.bias = w.bias_ih.data().to_vector<float>();
  const std::vector<float> of_h = w.bias_hh.data().to_vector<float>();
  const auto together = static_cast<size_t>(config_.cell == Cell::gru ? 2 * config_.hidden_size : std::ssize(of_h));
  for (size_t i = 0; i < together; ++i) rows.bias[i] += of_h[i];
  rows.n_bias.assign(of_h.begin() + static_cast<std::ptrdiff_t>(together), of_h.end());
  return rows;
}

std::unique_ptr<nn::InferenceStep> QuantizedRecurrent::inference_step(std::span<const nn::ValueInfo> inputs) const {
  check_inputs(inputs);
  check<ValueError>(loaded_, type(), ": it has no weights yet");
  for (const nn::ValueInfo& input : inputs)
    if (!input.lies_as_usual()) return nullptr;
  RecurrentIntegerPlan plan{.input_size = config_.input_size,
                            .hidden_size = config_.hidden_size,
                            .num_layers = config_.num_layers,
                            .directions = num_directions(),
                            .states = states_of(config_.cell),
                            .batch_first = config_.batch_first,
                            .weights = {},
                            .input = config_.input,
                            .activation_bits = config_.activation_bits,
                            .output = config_.output};
  for (const Weights& w : weights_) plan.weights.push_back(rows_weights(w));
  return recurrent_integer_step(std::move(plan), inputs);
}

}  // namespace thimble::quant
