#include <algorithm>
#include <optional>
#include <utility>

#include <thimble/core/ops/composed_op.h>
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/matmul.h>
#include <thimble/core/ops/recurrent.h>
#include <thimble/core/ops/recurrent_activations.h>
#include <thimble/core/ops/recurrent_fused.h>
#include <thimble/core/ops/shape.h>

namespace thimble {

namespace {

// The operands that are given, as bits of an attribute: files have one list of inputs.
enum Given : int64_t { kBias = 1, kLengths = 2, kHidden = 4, kCell = 8, kPeepholes = 16 };

// Of one direction.
struct GateWeights {
  Tensor ih, hh, bias_ih, bias_hh;  // [gates * hidden, in], [gates * hidden, hidden], [gates * hidden] or undefined
  Tensor peepholes;                 // [3 * hidden] or undefined
};

// What one step leaves for the next: [n, hidden].
struct GateState {
  Tensor h, c;  // c of lstm alone
};

// Part i of the last dimension, which is cut into parts of n.
Tensor gate_part(const Tensor& x, int64_t i, int64_t n) { return slice(x, -1, i * n, (i + 1) * n); }

// Derived classes say what one step does. What PyTorch has runs by kernels; what ONNX has besides, and derivatives of
// derivatives, by the formula.
class Recurrent : public ComposedOp {
 public:
  Recurrent(RecurrentOptions options, int64_t given) : options_(std::move(options)), given_(given) {}

  InputCount num_inputs() const override { return {3, 9}; }

  Attributes attributes() const override {
    Attributes a{{"operands", given_}};
    options_.to_attributes(a);
    return a;
  }

  NDArray compute(std::span<const NDArray> inputs) override {
    const Operands o = checked(std::vector<Tensor>(inputs.begin(), inputs.end()));
    const std::optional<kernels::CellKind> kind = fused_kind();
    if (!kind) return ComposedOp::compute(inputs);
    fused_.emplace(*kind, options_.direction);
    return fused_->compute(arrays_of(o), grad_enabled());
  }

  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor& output) override {
    if (!fused_ || grad_enabled()) return ComposedOp::gradient(out_grad, inputs, output);
    RecurrentArrays grads = fused_->gradient(arrays_of(named(inputs)), out_grad.data(), inputs[0].requires_grad());
    std::vector<Tensor> all{grads.x.defined() ? Tensor(grads.x) : Tensor(), grads.ih, grads.hh};
    if (is_given(kBias)) all.insert(all.end(), {Tensor(grads.bias_ih), Tensor(grads.bias_hh)});
    if (is_given(kLengths)) all.emplace_back();
    if (is_given(kHidden)) all.emplace_back(grads.h0);
    if (is_given(kCell)) all.emplace_back(grads.c0);
    return all;
  }

 protected:
  const RecurrentOptions& options() const { return options_; }
  bool is_given(Given operand) const { return (given_ & operand) != 0; }

  // f(x) of this direction's activation number i; what goes into a gate's is clipped.
  Tensor gate(const Tensor& x, int64_t direction, int64_t i) const { return activated(clipped(x), direction, i); }
  Tensor activated(const Tensor& x, int64_t direction, int64_t i) const {
    const std::vector<GateActivation>& all = options_.activations;
    if (all.empty()) return i < num_gate_kinds() ? sigmoid(x) : tanh(x);
    return apply_activation(all[static_cast<size_t>(direction * num_activations() + i)], x);
  }
  // Sigmoid for gates, tanh else.
  bool are_usual(const std::vector<GateActivation>& activations) const {
    for (size_t i = 0; i < activations.size(); ++i) {
      const bool is_gate = static_cast<int64_t>(i) % num_activations() < num_gate_kinds();
      if (activations[i].name != (is_gate ? "sigmoid" : "tanh")) return false;
    }
    return true;
  }
  Tensor clipped(const Tensor& x) const { return options_.clip > 0 ? clamp(x, -options_.clip, options_.clip) : x; }

 private:
  // Factor of `hidden` in the weights; of activations; of those that are gates'.
  virtual int64_t num_gates() const = 0;
  virtual int64_t num_activations() const = 0;
  virtual int64_t num_gate_kinds() const = 0;
  virtual bool has_cell() const { return false; }
  /// The kernels' name for it with the activations that are given, if they have it.
  virtual std::optional<kernels::CellKind> kind_of(const std::vector<GateActivation>& activations) const = 0;
  /// x_part [n, gates * hidden] is W x and the biases that can be added before.
  virtual GateState step(const Tensor& x_part, const GateState& before, const GateWeights& w,
                         int64_t direction) const = 0;
  /// Whether bias_hh may be added to W x.
  virtual bool adds_bias_first() const { return true; }

  int64_t num_directions() const { return options_.direction == Direction::bidirectional ? 2 : 1; }

  struct Operands {
    Tensor x, ih, hh, bias_ih, bias_hh, lengths, h0, c0, peepholes;
  };

  Operands named(std::span<const Tensor> inputs) const {
    Operands o{inputs[0], inputs[1], inputs[2], {}, {}, {}, {}, {}, {}};
    size_t next = 3;
    const auto take = [&] {
      check<ValueError>(next < inputs.size(), name(), ": got ", inputs.size(), " inputs, expected more");
      return inputs[next++];
    };
    if (is_given(kBias)) {
      o.bias_ih = take();
      o.bias_hh = take();
    }
    if (is_given(kLengths)) o.lengths = take();
    if (is_given(kHidden)) o.h0 = take();
    if (is_given(kCell)) o.c0 = take();
    if (is_given(kPeepholes)) o.peepholes = take();
    check<ValueError>(next == inputs.size(), name(), ": got ", inputs.size(), " inputs, expected ", next);
    return o;
  }

  void check_shape(const Tensor& x, const Shape& expected, const char* what) const {
    check<ShapeError>(!x.defined() || x.shape() == expected, name(), ": ", what, " must be ", expected, ", got ",
                      x.defined() ? x.shape() : Shape());
  }

  static RecurrentArrays arrays_of(const Operands& o) {
    const auto array = [](const Tensor& t) { return t.defined() ? t.data() : NDArray(); };
    return {array(o.x),       array(o.ih),      array(o.hh), array(o.bias_ih),
            array(o.bias_hh), array(o.lengths), array(o.h0), array(o.c0)};
  }

  std::optional<kernels::CellKind> fused_kind() const {
    if (options_.clip > 0 || options_.couples_gates || is_given(kPeepholes)) return {};
    return kind_of(options_.activations);
  }

  Operands checked(std::span<const Tensor> inputs) const {
    Operands o = named(inputs);
    check_shapes(o);
    const DType dtype = o.x.dtype();
    for (const Tensor& t : {o.x, o.ih, o.hh, o.bias_ih, o.bias_hh, o.h0, o.c0, o.peepholes})
      check<DTypeError>(!t.defined() || (t.dtype() == dtype && (dtype == DType::float32 || dtype == DType::float64)),
                        name(), ": expects one of float32 and float64 for all, got ", dtype, " and ",
                        t.defined() ? t.dtype() : dtype);
    if (o.lengths.defined()) lengths_of(o);
    return o;
  }

  std::vector<int64_t> lengths_of(const Operands& o) const {
    check<DTypeError>(o.lengths.dtype() == DType::int64 || o.lengths.dtype() == DType::int32, name(), ": lengths are ",
                      o.lengths.dtype(), ", expected int64 or int32");
    const std::vector<int64_t> lengths = o.lengths.data().to_vector<int64_t>();
    const int64_t steps = o.x.shape(0);
    for (const int64_t length : lengths)
      check<ValueError>(length >= 0 && length <= steps, name(), ": a length is ", length, ", expected 0 to ", steps);
    return lengths;
  }

  void check_shapes(const Operands& o) const {
    check<ShapeError>(o.x.ndim() == 3 && o.ih.ndim() == 3 && o.hh.ndim() == 3, name(),
                      ": expects x [steps, n, in], weight_ih [directions, gates * hidden, in] and weight_hh ",
                      "[directions, gates * hidden, hidden], got ", o.x.shape(), ", ", o.ih.shape(), ", ",
                      o.hh.shape());
    const int64_t n = o.x.shape(1), d = num_directions(), hidden = o.hh.shape(2), wide = num_gates() * hidden;
    check_shape(o.ih, {d, wide, o.x.shape(2)}, "weight_ih");
    check_shape(o.hh, {d, wide, hidden}, "weight_hh");
    check_shape(o.bias_ih, {d, wide}, "bias_ih");
    check_shape(o.bias_hh, {d, wide}, "bias_hh");
    check_shape(o.lengths, {n}, "lengths");
    check_shape(o.h0, {d, n, hidden}, "h0");
    check_shape(o.c0, {d, n, hidden}, "c0");
    check_shape(o.peepholes, {d, 3 * hidden}, "peepholes");
    check<ShapeError>(hidden > 0 && o.x.shape(2) > 0, name(), ": there are no features");
    const size_t count = options_.activations.size();
    check<ValueError>(count == 0 || count == static_cast<size_t>(d * num_activations()), name(), ": got ", count,
                      " activations, expected ", d * num_activations());
  }

  // For each step, which sequences have not ended: uint8 [n, 1]. Empty if all are of full length.
  std::vector<Tensor> running_at(const Operands& o) const {
    std::vector<Tensor> running;
    if (!o.lengths.defined()) return running;
    const std::vector<int64_t> lengths = lengths_of(o);
    for (int64_t t = 0; t < o.x.shape(0); ++t) {
      NDArray flags({o.x.shape(1), 1}, DType::uint8);
      std::ranges::transform(lengths, flags.data<uint8_t>(), [t](int64_t length) { return t < length ? 1 : 0; });
      running.emplace_back(std::move(flags));
    }
    return running;
  }

  Tensor formula(std::span<const Tensor> inputs) const override {
    const Operands o = checked(inputs);
    std::vector<Tensor> directions;
    const std::vector<Tensor> running = running_at(o);
    for (int64_t d = 0; d < num_directions(); ++d) directions.push_back(one_direction(o, d, running));
    return stack(directions, 1);
  }

  static Tensor row(const Tensor& x, int64_t i) { return x.defined() ? squeeze(slice(x, 0, i, i + 1), 0) : x; }

  // [steps + 1 or 2, n, hidden]
  Tensor one_direction(const Operands& o, int64_t d, const std::vector<Tensor>& running) const {
    const GateWeights w{row(o.ih, d), row(o.hh, d), row(o.bias_ih, d), row(o.bias_hh, d), row(o.peepholes, d)};
    const int64_t steps = o.x.shape(0);
    const Tensor zeros = NDArray::zeros({o.x.shape(1), o.hh.shape(2)}, o.x.dtype());
    GateState state{o.h0.defined() ? row(o.h0, d) : zeros, {}};
    if (has_cell()) state.c = o.c0.defined() ? row(o.c0, d) : zeros;
    Tensor bias = w.bias_ih;
    if (bias.defined() && adds_bias_first()) bias = bias + w.bias_hh;
    const Tensor x_parts = linear(o.x, w.ih, bias);
    const bool is_reverse = options_.direction == Direction::reverse || d == 1;
    std::vector<Tensor> outputs(static_cast<size_t>(steps));
    for (int64_t i = 0; i < steps; ++i) {
      const auto t = static_cast<size_t>(is_reverse ? steps - 1 - i : i);
      const GateState next = step(row(x_parts, static_cast<int64_t>(t)), state, w, d);
      outputs[t] = running.empty() ? next.h : where(running[t], next.h, zeros);
      state = running.empty() ? next : GateState{where(running[t], next.h, state.h), kept(running[t], next.c, state.c)};
    }
    outputs.push_back(state.h);
    if (has_cell()) outputs.push_back(state.c);
    return stack(outputs, 0);
  }

  static Tensor kept(const Tensor& running, const Tensor& next, const Tensor& before) {
    return next.defined() ? where(running, next, before) : next;
  }

  RecurrentOptions options_;
  int64_t given_;
  std::optional<FusedRecurrent> fused_;
};

class Lstm final : public Recurrent {
 public:
  using Recurrent::Recurrent;
  std::string_view name() const override { return "lstm"; }

 private:
  int64_t num_gates() const override { return 4; }
  int64_t num_activations() const override { return 3; }
  int64_t num_gate_kinds() const override { return 1; }
  bool has_cell() const override { return true; }
  std::optional<kernels::CellKind> kind_of(const std::vector<GateActivation>& activations) const override {
    return are_usual(activations) ? std::optional(kernels::CellKind::lstm) : std::nullopt;
  }

  GateState step(const Tensor& x_part, const GateState& before, const GateWeights& w, int64_t d) const override {
    const int64_t hidden = before.h.shape(1);
    const Tensor sums = x_part + linear(before.h, w.hh);
    const auto seen = [&](int64_t i, int64_t peephole, const Tensor& c) {
      const Tensor own = gate_part(sums, i, hidden);
      return w.peepholes.defined() ? own + gate_part(w.peepholes, peephole, hidden) * c : own;
    };
    const Tensor i = gate(seen(0, 0, before.c), d, 0), g = gate(gate_part(sums, 2, hidden), d, 1);
    const Tensor f = options().couples_gates ? 1 - i : gate(seen(1, 1, before.c), d, 0);
    const Tensor c = f * before.c + i * g;
    return {gate(seen(3, 2, c), d, 0) * activated(c, d, 2), c};
  }
};

class Gru final : public Recurrent {
 public:
  using Recurrent::Recurrent;
  std::string_view name() const override { return "gru"; }

 private:
  int64_t num_gates() const override { return 3; }
  int64_t num_activations() const override { return 2; }
  int64_t num_gate_kinds() const override { return 1; }
  bool adds_bias_first() const override { return !options().reset_after; }
  std::optional<kernels::CellKind> kind_of(const std::vector<GateActivation>& activations) const override {
    return options().reset_after && are_usual(activations) ? std::optional(kernels::CellKind::gru) : std::nullopt;
  }

  GateState step(const Tensor& x_part, const GateState& before, const GateWeights& w, int64_t d) const override {
    const int64_t hidden = before.h.shape(1);
    return options().reset_after ? reset_after(x_part, before, w, d, hidden)
                                 : reset_before(x_part, before, w, d, hidden);
  }

  GateState reset_after(const Tensor& x_part, const GateState& before, const GateWeights& w, int64_t d,
                        int64_t hidden) const {
    const Tensor h_part = linear(before.h, w.hh, w.bias_hh);
    const auto both = [&](int64_t i) { return gate_part(x_part, i, hidden) + gate_part(h_part, i, hidden); };
    const Tensor r = gate(both(0), d, 0), z = gate(both(1), d, 0);
    const Tensor n = gate(gate_part(x_part, 2, hidden) + r * gate_part(h_part, 2, hidden), d, 1);
    return {(1 - z) * n + z * before.h, {}};
  }

  GateState reset_before(const Tensor& x_part, const GateState& before, const GateWeights& w, int64_t d,
                         int64_t hidden) const {
    const Tensor h_part = linear(before.h, slice(w.hh, 0, 0, 2 * hidden));
    const auto both = [&](int64_t i) { return gate_part(x_part, i, hidden) + gate_part(h_part, i, hidden); };
    const Tensor r = gate(both(0), d, 0), z = gate(both(1), d, 0);
    const Tensor reset = linear(r * before.h, slice(w.hh, 0, 2 * hidden, 3 * hidden));
    const Tensor n = gate(gate_part(x_part, 2, hidden) + reset, d, 1);
    return {(1 - z) * n + z * before.h, {}};
  }
};

class Rnn final : public Recurrent {
 public:
  using Recurrent::Recurrent;
  std::string_view name() const override { return "rnn"; }

 private:
  int64_t num_gates() const override { return 1; }
  int64_t num_activations() const override { return 1; }
  int64_t num_gate_kinds() const override { return 0; }
  std::optional<kernels::CellKind> kind_of(const std::vector<GateActivation>& activations) const override {
    const auto all = [&](const char* name) {
      return std::ranges::all_of(activations, [name](const GateActivation& a) { return a.name == name; });
    };
    if (all("tanh")) return kernels::CellKind::tanh_rnn;
    if (all("relu")) return kernels::CellKind::relu_rnn;
    return {};
  }

  GateState step(const Tensor& x_part, const GateState& before, const GateWeights& w, int64_t d) const override {
    return {gate(x_part + linear(before.h, w.hh), d, 0), {}};
  }
};

template <typename T>
Tensor apply_recurrent(const char* op, const Tensor& x, const Tensor& weight_ih, const Tensor& weight_hh,
                       const RecurrentOperands& o, const RecurrentOptions& options) {
  check<ValueError>(o.bias_ih.defined() == o.bias_hh.defined(), op, ": got one of bias_ih and bias_hh only");
  constexpr bool kHasCell = std::is_same_v<T, Lstm>;
  check<ValueError>(kHasCell || (!o.c0.defined() && !o.peepholes.defined()), op, ": has no cell");
  std::vector<Tensor> inputs{x, weight_ih, weight_hh};
  int64_t given = 0;
  const auto add = [&](Given which, std::initializer_list<Tensor> tensors) {
    if (!tensors.begin()->defined()) return;
    given |= which;
    inputs.insert(inputs.end(), tensors);
  };
  add(kBias, {o.bias_ih, o.bias_hh});
  add(kLengths, {o.lengths});
  add(kHidden, {o.h0});
  add(kCell, {o.c0});
  add(kPeepholes, {o.peepholes});
  return thimble::apply(std::make_unique<T>(options, given), std::move(inputs));
}

template <typename T>
std::unique_ptr<Op> make_recurrent(const Attributes& a) {
  return std::make_unique<T>(RecurrentOptions::from_attributes(a), a.get<int64_t>("operands"));
}

const OpRegistration recurrent_registrations[] = {
    {"lstm", make_recurrent<Lstm>},
    {"gru", make_recurrent<Gru>},
    {"rnn", make_recurrent<Rnn>},
};

}  // namespace

Tensor lstm(const Tensor& x, const Tensor& weight_ih, const Tensor& weight_hh, const RecurrentOperands& operands,
            const RecurrentOptions& options) {
  return apply_recurrent<Lstm>("lstm", x, weight_ih, weight_hh, operands, options);
}

Tensor gru(const Tensor& x, const Tensor& weight_ih, const Tensor& weight_hh, const RecurrentOperands& operands,
           const RecurrentOptions& options) {
  return apply_recurrent<Gru>("gru", x, weight_ih, weight_hh, operands, options);
}

Tensor rnn(const Tensor& x, const Tensor& weight_ih, const Tensor& weight_hh, const RecurrentOperands& operands,
           const RecurrentOptions& options) {
  return apply_recurrent<Rnn>("rnn", x, weight_ih, weight_hh, operands, options);
}

}  // namespace thimble
