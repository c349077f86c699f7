// LSTM, GRU and RNN. The order of their gates becomes PyTorch's.
#include <algorithm>
#include <map>

#include <thimble/core/ops/recurrent.h>
#include <thimble/serialization/onnx/handlers.h>
#include <thimble/serialization/onnx/shape_values.h>

namespace thimble::onnx {

namespace {

// What an op has that the others have not.
struct RecurrentKind {
  const char* op;
  std::vector<int64_t> gates;  // PyTorch's gate i is ONNX's gate gates[i]
  int64_t states;              // behind the outputs: h, and of lstm c
};

struct GateKind {
  const char* name;
  int parameters;              // that it takes of alpha, beta
  int required;                // that have no default
  double alpha = 0, beta = 0;  // defaults
};

const std::map<std::string, GateKind> kActivations{{"Relu", {"relu", 0, 0}},
                                                   {"Tanh", {"tanh", 0, 0}},
                                                   {"Sigmoid", {"sigmoid", 0, 0}},
                                                   {"Affine", {"affine", 2, 2}},
                                                   {"LeakyRelu", {"leaky_relu", 1, 0, 0.01}},
                                                   {"ThresholdedRelu", {"thresholded_relu", 1, 1}},
                                                   {"ScaledTanh", {"scaled_tanh", 2, 2}},
                                                   {"HardSigmoid", {"hard_sigmoid", 2, 0, 0.2, 0.5}},
                                                   {"Elu", {"elu", 1, 0, 1.0}},
                                                   {"Softsign", {"softsign", 0, 0}},
                                                   {"Softplus", {"softplus", 0, 0}}};

// Alphas and betas are lists of their own, of which each activation that takes one takes the next.
std::vector<GateActivation> activations_of(const OnnxNode& node) {
  const std::vector<float> alphas = node.numbers("activation_alpha"), betas = node.numbers("activation_beta");
  std::vector<GateActivation> activations;
  size_t alpha = 0, beta = 0;
  for (const std::string& name : node.texts("activations")) {
    const auto it = kActivations.find(name);
    node.require(it != kActivations.end(), "its activation '", name, "' is not one of the standard's");
    const GateKind& kind = it->second;
    GateActivation activation{kind.name, kind.alpha, kind.beta};
    const auto take = [&](const std::vector<float>& list, size_t& next, double& value, int number) {
      if (kind.parameters < number) return;
      node.require(next < list.size() || kind.required < number, "its activation '", name, "' needs ",
                   number == 1 ? "an alpha" : "a beta");
      if (next < list.size()) value = double{list[next++]};
    };
    take(alphas, alpha, activation.alpha, 1);
    take(betas, beta, activation.beta, 2);
    activations.push_back(activation);
  }
  return activations;
}

int64_t hidden_size(Importer& importer, const OnnxNode& node) {
  const NDArray& r = importer.input(node, 2).constant;
  const int64_t size = node.integer("hidden_size", r.defined() && r.ndim() == 3 ? r.shape(2) : 0);
  node.require(size > 0 && size < int64_t{1} << 31, "its hidden_size is missing or not from 1 on");
  return size;
}

// Parts of `hidden` along axis 1, of which part i is the old part order[i] behind `first`.
Value reordered(Importer& importer, const OnnxNode& node, const Value& x, const std::vector<int64_t>& order,
                int64_t hidden, int64_t first = 0) {
  std::vector<Value> parts;
  for (const int64_t i : order)
    parts.push_back(slice_of(importer, node, x, 1, (first + i) * hidden, (first + i + 1) * hidden));
  return parts.size() == 1 ? parts[0] : importer.apply(node, "concat", {{"axis", int64_t{1}}}, parts);
}

Value swapped(Importer& importer, const OnnxNode& node, const Value& x) {
  return importer.apply(node, "transpose", {{"axis0", int64_t{0}}, {"axis1", int64_t{1}}}, {x});
}

// The outputs are parts of what the op gives.
void set_recurrent_outputs(Importer& importer, const OnnxNode& node, const RecurrentKind& kind, const Value& packed,
                           bool batch_first) {
  if (!node.output(0).empty()) {
    Value y = slice_of(importer, node, packed, 0, 0, -kind.states);
    if (batch_first) y = importer.apply(node, "permute", {{"axes", std::vector<int64_t>{2, 0, 1, 3}}}, {y});
    importer.set(node, 0, y);
  }
  for (int64_t i = 0; i < kind.states; ++i) {
    const auto output = static_cast<size_t>(i + 1);
    if (node.output(output).empty()) continue;
    const int64_t at = i - kind.states;
    const Value one = slice_of(importer, node, packed, 0, at, at == -1 ? kEnd : at + 1);
    const Value state = squeezed(importer, node, one, 0);
    importer.set(node, output, batch_first ? swapped(importer, node, state) : state);
  }
}

void recurrent(Importer& importer, const OnnxNode& node, const RecurrentKind& kind) {
  const int64_t hidden = hidden_size(importer, node), layout = node.integer("layout", 0),
                gates = static_cast<int64_t>(kind.gates.size());
  node.require(layout == 0 || layout == 1, "its layout is ", layout, ", expected 0 or 1");
  const auto read = [&](size_t i) {
    const Value& x = importer.input(node, i);
    const bool has_batch_first = layout == 1 && (i == 0 || i == 5 || i == 6);
    return has_batch_first ? swapped(importer, node, x) : x;
  };
  std::vector<Value> operands{read(0), reordered(importer, node, read(1), kind.gates, hidden),
                              reordered(importer, node, read(2), kind.gates, hidden)};
  int64_t given = 0;  // as bits, in the order of the op's operands
  const auto add = [&](int64_t bit, std::initializer_list<Value> values) {
    given |= bit;
    operands.insert(operands.end(), values);
  };
  if (importer.has_input(node, 3))
    add(1, {reordered(importer, node, read(3), kind.gates, hidden),
            reordered(importer, node, read(3), kind.gates, hidden, gates)});
  if (importer.has_input(node, 4)) add(2, {read(4)});
  if (importer.has_input(node, 5)) add(4, {read(5)});
  if (kind.states == 2 && importer.has_input(node, 6)) add(8, {read(6)});
  if (kind.states == 2 && importer.has_input(node, 7)) add(16, {reordered(importer, node, read(7), {0, 2, 1}, hidden)});
  const RecurrentOptions options{
      .direction = direction_from_name(node.text("direction", "forward")),
      .activations = activations_of(node),
      .clip = node.number("clip", 0),
      .reset_after = kind.op == std::string("gru") && node.integer("linear_before_reset", 0) != 0,
      .couples_gates = kind.states == 2 && node.integer("input_forget", 0) != 0};
  Attributes attributes{{"operands", given}};
  options.to_attributes(attributes);
  set_recurrent_outputs(importer, node, kind, importer.apply(node, kind.op, attributes, operands, 4), layout == 1);
}

void lstm(Importer& importer, const OnnxNode& node) { recurrent(importer, node, {"lstm", {0, 2, 3, 1}, 2}); }
void gru(Importer& importer, const OnnxNode& node) { recurrent(importer, node, {"gru", {1, 0, 2}, 1}); }
void rnn(Importer& importer, const OnnxNode& node) { recurrent(importer, node, {"rnn", {0}, 1}); }

}  // namespace

void add_recurrent(Handlers& handlers) {
  const Handlers own{{"GRU", gru}, {"LSTM", lstm}, {"RNN", rnn}};
  handlers.insert(own.begin(), own.end());
}

}  // namespace thimble::onnx
