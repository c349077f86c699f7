#include <cmath>
#include <limits>

#include <thimble/core/ops/dropout.h>
#include <thimble/core/ops/shape.h>
#include <thimble/nn/inference/recurrent_step.h>
#include <thimble/nn/init.h>
#include <thimble/nn/layers/recurrent.h>

namespace thimble::nn {

namespace {

// Far above any network's, far below what a size of their products cannot hold: files say them.
constexpr int64_t kMostFeatures = int64_t{1} << 24, kMostLayers = 1024;
constexpr int64_t kEndOfSteps = std::numeric_limits<int64_t>::max();

template <typename T>
std::shared_ptr<Module> make_recurrent_layer(const Attributes& attributes) {
  return std::make_shared<T>(attributes);
}

const LayerRegistration recurrent_registrations[] = {
    {"LSTM", make_recurrent_layer<LSTM>},
    {"GRU", make_recurrent_layer<GRU>},
    {"RNN", make_recurrent_layer<RNN>},
};

int64_t size_from(const Attributes& attributes, const char* name, int64_t most) {
  const auto size = attributes.get<int64_t>(name);
  check<FormatError>(size > 0 && size <= most, "recurrent layer: ", name, ' ', size, " is not from 1 to ", most);
  return size;
}

int64_t features_from(const Attributes& attributes, const char* name) {
  return size_from(attributes, name, kMostFeatures);
}

Nonlinearity nonlinearity_from(const Attributes& attributes) {
  const auto name = attributes.get<std::string>("nonlinearity");
  check<FormatError>(name == "tanh" || name == "relu", "RNN: nonlinearity '", name, "' is not tanh or relu");
  return name == "relu" ? Nonlinearity::relu : Nonlinearity::tanh;
}

// [k, D, n, hidden] -> [k, n, D * hidden]
Tensor side_by_side(const Tensor& x) {
  return x.shape(1) == 1 ? squeeze(x, 1) : flatten(permute(x, {0, 2, 1, 3}), 2, 3);
}

}  // namespace

RecurrentLayer::RecurrentLayer(const Kind& kind, int64_t input_size, int64_t hidden_size, const Options& options,
                               Tensors tensors)
    : kind_(kind), input_size_(input_size), hidden_size_(hidden_size), options_(options) {
  for (const auto& [name, size, most] :
       {std::tuple("input_size", input_size, kMostFeatures), std::tuple("hidden_size", hidden_size, kMostFeatures),
        std::tuple("num_layers", options.num_layers, kMostLayers)})
    check<ValueError>(size > 0 && size <= most, kind.type, ": ", name, ' ', size, " is not from 1 to ", most);
  check<ValueError>(options.dropout >= 0 && options.dropout <= 1, kind.type, ": dropout ", options.dropout,
                    " is not in [0, 1]");
  const double bound = 1 / std::sqrt(static_cast<double>(hidden_size));
  const auto parameter = [&](const std::string& name, const std::string& place, const Shape& shape) {
    NDArray array = tensors == Tensors::initialized ? init::uniform(shape, -bound, bound) : NDArray::placeholder(shape);
    return register_parameter(name + place, std::move(array));
  };
  const int64_t wide = kind.gates * hidden_size;
  for (int64_t layer = 0; layer < options.num_layers; ++layer)
    for (int64_t d = 0; d < num_directions(); ++d) {
      const std::string place = str("_l", layer, d == 1 ? "_reverse" : "");
      const int64_t in = layer == 0 ? input_size : num_directions() * hidden_size;
      Weights w{parameter("weight_ih", place, {wide, in}), parameter("weight_hh", place, {wide, hidden_size}), {}, {}};
      if (options.bias) {
        w.bias_ih = parameter("bias_ih", place, {wide});
        w.bias_hh = parameter("bias_hh", place, {wide});
      }
      weights_.push_back(std::move(w));
    }
}

RecurrentLayer::Options RecurrentLayer::options_of(const Attributes& a) {
  const auto dropout = a.get<double>("dropout");
  check<FormatError>(dropout >= 0 && dropout <= 1, "recurrent layer: dropout ", dropout, " is not in [0, 1]");
  return {.num_layers = size_from(a, "num_layers", kMostLayers),
          .bias = a.get<bool>("bias"),
          .batch_first = a.get<bool>("batch_first"),
          .dropout = dropout,
          .bidirectional = a.get<bool>("bidirectional")};
}

Attributes RecurrentLayer::attributes() const {
  return {{"input_size", input_size_},
          {"hidden_size", hidden_size_},
          {"num_layers", options_.num_layers},
          {"bias", options_.bias},
          {"batch_first", options_.batch_first},
          {"dropout", options_.dropout},
          {"bidirectional", options_.bidirectional}};
}

// x and states are [steps or layers, n, ...].
struct RecurrentLayer::Inputs {
  Tensor x;
  RecurrentState state;
  Tensor lengths;
  bool wants_states = false;
};

RecurrentLayer::Inputs RecurrentLayer::checked(std::span<const Tensor> inputs) const {
  const auto states = static_cast<size_t>(kind_.states);
  check<ValueError>(inputs.size() == 1 || inputs.size() == 1 + states || inputs.size() == 2 + states, kind_.type,
                    ": takes x, or x, ", states, " initial state", states > 1 ? "s" : "", " and lengths, got ",
                    inputs.size(), " inputs");
  for (const Tensor& given : inputs)
    check<ValueError>(given.defined(), kind_.type, ": an input is undefined; run(x, ...) takes what is left out for ",
                      "zeros, and needs no lengths");
  const Tensor& x = inputs[0];
  check<ShapeError>(x.ndim() == 3 && x.shape(2) == input_size_, kind_.type, ": expects x [",
                    options_.batch_first ? "n, steps, " : "steps, n, ", input_size_, "], got ", x.shape());
  Inputs all{options_.batch_first ? transpose(x, 0, 1) : x, {}, {}, inputs.size() > 1};
  if (!all.wants_states) return all;
  const int64_t rows = options_.num_layers * num_directions(), n = all.x.shape(1);
  const auto state = [&](size_t i, const char* name) {
    const Shape& shape = inputs[i].shape();
    check<ShapeError>(shape == Shape{rows, n, hidden_size_} || shape == Shape{rows, 1, hidden_size_}, kind_.type, ": ",
                      name, " must be [", rows, ", ", n, " or 1, ", hidden_size_, "], got ", shape);
    return shape[1] == n ? inputs[i] : broadcast_to(inputs[i], {rows, n, hidden_size_});
  };
  all.state.h = state(1, "h");
  if (states == 2) all.state.c = state(2, "c");
  if (inputs.size() == 2 + states) all.lengths = inputs.back();
  check<ShapeError>(!all.lengths.defined() || all.lengths.shape() == Shape{n}, kind_.type, ": lengths must be [", n,
                    "], got ", all.lengths.defined() ? all.lengths.shape() : Shape());
  return all;
}

// Those of all directions: [D, ...].
RecurrentLayer::Weights RecurrentLayer::stacked_weights(int64_t layer) {
  const Weights forward = used_weights(layer, false),
                reverse = options_.bidirectional ? used_weights(layer, true) : Weights();
  const auto stacked = [&](Tensor Weights::*which) {
    const Tensor& own = forward.*which;
    if (!own.defined()) return own;
    return options_.bidirectional ? stack({own, reverse.*which}, 0) : unsqueeze(own, 0);
  };
  return {stacked(&Weights::ih), stacked(&Weights::hh), stacked(&Weights::bias_ih), stacked(&Weights::bias_hh)};
}

// [steps + states, n, D * hidden]
Tensor RecurrentLayer::run_layer(const Tensor& x, int64_t layer, const Inputs& inputs) {
  const int64_t d = num_directions();
  const auto own = [&](const Tensor& state) {
    return state.defined() ? slice(state, 0, layer * d, (layer + 1) * d) : state;
  };
  const Weights w = stacked_weights(layer);
  const RecurrentOperands operands{.bias_ih = w.bias_ih,
                                   .bias_hh = w.bias_hh,
                                   .lengths = inputs.lengths,
                                   .h0 = own(inputs.state.h),
                                   .c0 = own(inputs.state.c)};
  return side_by_side(apply(x, w, operands, d == 2 ? Direction::bidirectional : Direction::forward));
}

Tensor RecurrentLayer::forward_all(std::span<const Tensor> inputs) {
  const Inputs given = checked(inputs);
  const int64_t steps = given.x.shape(0), layers = options_.num_layers;
  Tensor x = given.x;
  std::vector<Tensor> states(static_cast<size_t>(kind_.states * layers));
  for (int64_t layer = 0; layer < layers; ++layer) {
    const Tensor y = run_layer(x, layer, given);
    x = slice(y, 0, 0, steps);
    for (int64_t i = 0; given.wants_states && i < kind_.states; ++i)
      states[static_cast<size_t>(i * layers + layer)] = slice(y, 0, steps + i, steps + i + 1);
    if (layer + 1 < layers) x = handed_on(x);
    if (training() && options_.dropout > 0 && layer + 1 < layers) x = dropout(x, options_.dropout);
  }
  if (given.wants_states) {
    states.insert(states.begin(), x);
    x = concat(states, 0);
  }
  return options_.batch_first ? transpose(x, 0, 1) : x;
}

std::unique_ptr<InferenceStep> RecurrentLayer::inference_step(std::span<const ValueInfo> inputs) const {
  const kernels::CellKind kind = kind_.gates == 4   ? kernels::CellKind::lstm
                                 : kind_.gates == 3 ? kernels::CellKind::gru
                                 : has_relu()       ? kernels::CellKind::relu_rnn
                                                    : kernels::CellKind::tanh_rnn;
  return recurrent_step({kind_.type, kind, input_size_, hidden_size_, options_.num_layers, num_directions(),
                         kind_.states, options_.batch_first, weights_},
                        inputs);
}

// h (0) or c (1) of all layers out of what forward_all() gives: [layers * D, n, hidden].
Tensor RecurrentLayer::states_of(const Tensor& packed, int64_t which) const {
  const int64_t layers = options_.num_layers, first = (which - kind_.states) * layers;
  const Tensor own =
      slice(packed, options_.batch_first ? 1 : 0, first, first + layers == 0 ? kEndOfSteps : first + layers);
  const Tensor state = options_.batch_first ? transpose(own, 0, 1) : own;
  if (!options_.bidirectional) return state;
  return flatten(stack({slice(state, 2, 0, hidden_size_), slice(state, 2, hidden_size_, 2 * hidden_size_)}, 1), 0, 1);
}

RecurrentOutput RecurrentLayer::run(const Tensor& x, const RecurrentState& initial, const Tensor& lengths) {
  check<ValueError>(kind_.states == 2 || !initial.c.defined(), kind_.type, ": has no cell, got an initial c");
  const auto given = [&](const Tensor& state) {
    const Shape one_row{options_.num_layers * num_directions(), 1, hidden_size_};
    return state.defined() ? state : Tensor(NDArray::zeros(one_row, weights_[0].ih.dtype()));
  };
  std::vector<Tensor> inputs{x, given(initial.h)};
  if (kind_.states == 2) inputs.push_back(given(initial.c));
  if (lengths.defined()) inputs.push_back(lengths);
  const Tensor packed = call(inputs);
  const Tensor output = slice(packed, options_.batch_first ? 1 : 0, 0, -kind_.states * options_.num_layers);
  return {output, states_of(packed, 0), kind_.states == 2 ? states_of(packed, 1) : Tensor()};
}

LSTM::LSTM(int64_t input_size, int64_t hidden_size, Options options)
    : RecurrentLayer({"LSTM", 4, 2}, input_size, hidden_size, options, Tensors::initialized) {}

LSTM::LSTM(const Attributes& a)
    : RecurrentLayer({"LSTM", 4, 2}, features_from(a, "input_size"), features_from(a, "hidden_size"), options_of(a),
                     Tensors::placeholders) {}

Tensor LSTM::apply(const Tensor& x, const Weights& w, const RecurrentOperands& operands, Direction direction) const {
  return lstm(x, w.ih, w.hh, operands, {.direction = direction});
}

GRU::GRU(int64_t input_size, int64_t hidden_size, Options options)
    : RecurrentLayer({"GRU", 3, 1}, input_size, hidden_size, options, Tensors::initialized) {}

GRU::GRU(const Attributes& a)
    : RecurrentLayer({"GRU", 3, 1}, features_from(a, "input_size"), features_from(a, "hidden_size"), options_of(a),
                     Tensors::placeholders) {}

Tensor GRU::apply(const Tensor& x, const Weights& w, const RecurrentOperands& operands, Direction direction) const {
  return gru(x, w.ih, w.hh, operands, {.direction = direction});
}

RNN::RNN(int64_t input_size, int64_t hidden_size, Options o)
    : RecurrentLayer({"RNN", 1, 1}, input_size, hidden_size,
                     {o.num_layers, o.bias, o.batch_first, o.dropout, o.bidirectional}, Tensors::initialized),
      nonlinearity_(o.nonlinearity) {}

RNN::RNN(const Attributes& a)
    : RecurrentLayer({"RNN", 1, 1}, features_from(a, "input_size"), features_from(a, "hidden_size"), options_of(a),
                     Tensors::placeholders),
      nonlinearity_(nonlinearity_from(a)) {}

Attributes RNN::attributes() const {
  Attributes a = RecurrentLayer::attributes();
  a.set("nonlinearity", std::string(has_relu() ? "relu" : "tanh"));
  return a;
}

Tensor RNN::apply(const Tensor& x, const Weights& w, const RecurrentOperands& operands, Direction direction) const {
  RecurrentOptions options{.direction = direction};
  if (has_relu()) options.activations.assign(static_cast<size_t>(num_directions()), {.name = "relu"});
  return rnn(x, w.ih, w.hh, operands, options);
}

}  // namespace thimble::nn
