#include <cmath>
#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/core/views.h"
#include <thimble/core/ops/recurrent.h>
#include <thimble/core/ops/shape.h>

namespace thimble {
namespace {

using ::testing::HasSubstr;
using Vector = std::vector<double>;

double logistic(double x) { return 1 / (1 + std::exp(-x)); }

// Which operands there are: those that PyTorch has, or peepholes, too, with which an lstm has no kernel.
enum class Given { none, usual, all };

// Sizes and operands of a case.
struct RecurrentCase {
  int64_t steps, n, in, hidden, gates;
  bool has_cell = false;
  RecurrentOptions options = {};
  RecurrentOperands operands = {};
  NDArray x, ih, hh;

  int64_t directions() const { return options.direction == Direction::bidirectional ? 2 : 1; }

  RecurrentCase(int64_t steps_, int64_t n_, int64_t in_, int64_t hidden_, int64_t gates_, RecurrentOptions o,
                Generator& rng, Given given)
      : steps(steps_), n(n_), in(in_), hidden(hidden_), gates(gates_), has_cell(gates_ == 4), options(std::move(o)) {
    const int64_t d = directions(), wide = gates * hidden;
    x = randn_view({steps, n, in}, rng);
    ih = randn_view({d, wide, in}, rng);
    hh = randn_view({d, wide, hidden}, rng);
    if (given == Given::none) return;
    operands.bias_ih = randn_view({d, wide}, rng);
    operands.bias_hh = randn_view({d, wide}, rng);
    operands.h0 = randn_view({d, n, hidden}, rng);
    std::vector<int64_t> lengths;
    for (int64_t i = 0; i < n; ++i) lengths.push_back((steps + i) % (steps + 1));  // the second is 0
    operands.lengths = NDArray::from_vector(lengths);
    if (!has_cell) return;
    operands.c0 = randn_view({d, n, hidden}, rng);
    if (given == Given::all) operands.peepholes = randn_view({d, 3 * hidden}, rng);
  }
};

// Of one sample and one direction: a step of plain loops, from what W x and U h give for each gate.
using PlainStep = std::function<void(const RecurrentCase& c, int64_t d, const Vector& wx, Vector& h, Vector& cell)>;

double element(const Tensor& t, const Shape& i) { return t.defined() ? at(t.data(), i) : 0; }

double u_h(const RecurrentCase& c, int64_t d, int64_t row, const Vector& h) {
  double sum = 0;
  for (int64_t j = 0; j < c.hidden; ++j) sum += at(c.hh, {d, row, j}) * h[static_cast<size_t>(j)];
  return sum;
}

double bounded(const RecurrentCase& c, double x) {
  const double clip = c.options.clip;
  return clip > 0 ? std::clamp(x, -clip, clip) : x;
}

void plain_lstm(const RecurrentCase& c, int64_t d, const Vector& wx, Vector& h, Vector& cell) {
  const Vector before = h;
  for (int64_t k = 0; k < c.hidden; ++k) {
    const auto sum = [&](int64_t gate) {
      const int64_t row = gate * c.hidden + k;
      return wx[static_cast<size_t>(row)] + u_h(c, d, row, before) + element(c.operands.bias_hh, {d, row});
    };
    const auto peephole = [&](int64_t i) { return element(c.operands.peepholes, {d, i * c.hidden + k}); };
    double& own = cell[static_cast<size_t>(k)];
    const double i = logistic(bounded(c, sum(0) + peephole(0) * own));
    const double f = c.options.couples_gates ? 1 - i : logistic(bounded(c, sum(1) + peephole(1) * own));
    own = f * own + i * std::tanh(bounded(c, sum(2)));
    h[static_cast<size_t>(k)] = logistic(bounded(c, sum(3) + peephole(2) * own)) * std::tanh(own);
  }
}

void plain_gru(const RecurrentCase& c, int64_t d, const Vector& wx, Vector& h, Vector&) {
  const Vector before = h;
  Vector r(h.size()), z(h.size()), reset(h.size());
  const auto bias = [&](int64_t row) { return element(c.operands.bias_hh, {d, row}); };
  for (int64_t k = 0; k < c.hidden; ++k) {
    const auto i = static_cast<size_t>(k);
    const auto gate = [&](int64_t row) {
      return logistic(bounded(c, wx[static_cast<size_t>(row)] + u_h(c, d, row, before) + bias(row)));
    };
    r[i] = gate(k);
    z[i] = gate(c.hidden + k);
    reset[i] = r[i] * before[i];
  }
  for (int64_t k = 0; k < c.hidden; ++k) {
    const auto i = static_cast<size_t>(k);
    const int64_t row = 2 * c.hidden + k;
    const double inner =
        c.options.reset_after ? r[i] * (u_h(c, d, row, before) + bias(row)) : u_h(c, d, row, reset) + bias(row);
    h[i] = (1 - z[i]) * std::tanh(bounded(c, wx[static_cast<size_t>(row)] + inner)) + z[i] * before[i];
  }
}

void plain_rnn(const RecurrentCase& c, int64_t d, const Vector& wx, Vector& h, Vector&) {
  const Vector before = h;
  for (int64_t k = 0; k < c.hidden; ++k)
    h[static_cast<size_t>(k)] =
        std::tanh(bounded(c, wx[static_cast<size_t>(k)] + u_h(c, d, k, before) + element(c.operands.bias_hh, {d, k})));
}

// [steps + 1 or 2, directions, n, hidden]
NDArray plain(const RecurrentCase& c, const PlainStep& step) {
  NDArray y = NDArray::zeros({c.steps + (c.has_cell ? 2 : 1), c.directions(), c.n, c.hidden}, DType::float64);
  const auto put = [&](int64_t row, int64_t d, int64_t b, const Vector& values) {
    for (int64_t k = 0; k < c.hidden; ++k)
      y.data<double>()[((row * c.directions() + d) * c.n + b) * c.hidden + k] = values[static_cast<size_t>(k)];
  };
  for (int64_t d = 0; d < c.directions(); ++d)
    for (int64_t b = 0; b < c.n; ++b) {
      Vector h(static_cast<size_t>(c.hidden)), cell(h.size());
      for (int64_t k = 0; k < c.hidden; ++k) {
        h[static_cast<size_t>(k)] = element(c.operands.h0, {d, b, k});
        cell[static_cast<size_t>(k)] = element(c.operands.c0, {d, b, k});
      }
      const auto length = c.operands.lengths.defined()
                              ? c.operands.lengths.data().to_vector<int64_t>()[static_cast<size_t>(b)]
                              : c.steps;
      for (int64_t i = 0; i < length; ++i) {
        const bool is_reverse = c.options.direction == Direction::reverse || d == 1;
        const int64_t t = is_reverse ? length - 1 - i : i;
        Vector wx(static_cast<size_t>(c.gates * c.hidden));
        for (int64_t row = 0; row < c.gates * c.hidden; ++row) {
          double sum = element(c.operands.bias_ih, {d, row});
          for (int64_t j = 0; j < c.in; ++j) sum += at(c.ih, {d, row, j}) * at(c.x, {t, b, j});
          wx[static_cast<size_t>(row)] = sum;
        }
        step(c, d, wx, h, cell);
        put(t, d, b, h);
      }
      put(c.steps, d, b, h);
      if (c.has_cell) put(c.steps + 1, d, b, cell);
    }
  return y;
}

using RecurrentOp = Tensor (*)(const Tensor&, const Tensor&, const Tensor&, const RecurrentOperands&,
                               const RecurrentOptions&);

struct RecurrentKind {
  const char* name;
  int64_t gates;
  RecurrentOp op;
  PlainStep step;
};

const RecurrentKind kKinds[] = {{"lstm", 4, lstm, plain_lstm}, {"gru", 3, gru, plain_gru}, {"rnn", 1, rnn, plain_rnn}};

std::vector<RecurrentOptions> option_cases() {
  std::vector<RecurrentOptions> cases;
  for (const Direction direction : {Direction::forward, Direction::reverse, Direction::bidirectional})
    for (const double clip : {0.0, 0.4})
      for (const bool is_special : {false, true})
        cases.push_back(
            {.direction = direction, .clip = clip, .reset_after = !is_special, .couples_gates = is_special});
  return cases;
}

TEST(Recurrent, AgreesWithPlainLoops) {
  Generator rng(1);
  for (const RecurrentKind& kind : kKinds)
    for (const RecurrentOptions& options : option_cases())
      for (const Given given : {Given::none, Given::usual, Given::all}) {
        SCOPED_TRACE(
            str(kind.name, ' ', name(options.direction), " clip ", options.clip, " given ", static_cast<int>(given)));
        const RecurrentCase c(4, 3, 2, 3, kind.gates, options, rng, given);
        expect_close(kind.op(c.x, c.ih, c.hh, c.operands, options).data(), plain(c, kind.step), 1e-12);
      }
}

TEST(Recurrent, GradientsAreRight) {
  Generator rng(2);
  const RecurrentOptions both{.direction = Direction::bidirectional}, before{.reset_after = false};
  for (const RecurrentKind& kind : kKinds)
    for (const auto& [options, given] :
         {std::pair(both, Given::usual), std::pair(both, Given::all), std::pair(before, Given::all)}) {
      const RecurrentCase c(3, 2, 2, 2, kind.gates, options, rng, given);
      const auto f = [&, &used = options](const std::vector<Tensor>& in) {
        RecurrentOperands o{.bias_ih = in[3], .bias_hh = in[4], .lengths = c.operands.lengths, .h0 = in[5]};
        if (c.has_cell) o.c0 = in[6];
        if (c.operands.peepholes.defined()) o.peepholes = in[7];
        return kind.op(in[0], in[1], in[2], o, used);
      };
      std::vector<NDArray> inputs{c.x, c.ih, c.hh};
      for (const Tensor* t :
           {&c.operands.bias_ih, &c.operands.bias_hh, &c.operands.h0, &c.operands.c0, &c.operands.peepholes})
        if (t->defined()) inputs.push_back(t->data());
      gradcheck(f, inputs);
    }
}

// Inputs that are one tensor, or made of one another: no derivative is counted twice.
TEST(Recurrent, SecondDerivativesAreRightOfInputsThatBelongTogether) {
  Generator rng(7);
  const NDArray x = randn_view({2, 2, 2}, rng), ih = randn_view({1, 8, 2}, rng), hh = randn_view({1, 8, 2}, rng);
  const auto f = [&](const Tensor& h0, const Tensor& c0) { return lstm(x, ih, hh, {.h0 = h0, .c0 = c0}); };
  const std::vector<NDArray> state{randn_view({1, 2, 2}, rng)};
  check_gradients([&](const auto& t) { return f(t[0], t[0]); }, state);
  check_gradients([&](const auto& t) { return f(t[0], t[0] * t[0]); }, state);
}

TEST(Recurrent, ActivationsAreThoseThatAreNamed) {
  Generator rng(3);
  const Tensor x = randn_view({1, 1, 2}, rng), ih = randn_view({1, 1, 2}, rng),
               hh = NDArray::zeros({1, 1, 1}, DType::float64);
  const double v = at(rnn(x, ih, hh, {}, {.activations = {{"affine", 1, 0}}}).data(), {0, 0, 0, 0});
  const std::pair<GateActivation, double> cases[] = {{{"relu"}, std::max(v, 0.0)},
                                                     {{"affine", 2, 3}, 2 * v + 3},
                                                     {{"leaky_relu", 0.1}, v > 0 ? v : 0.1 * v},
                                                     {{"thresholded_relu", -9}, v},
                                                     {{"thresholded_relu", 9}, 0},
                                                     {{"scaled_tanh", 2, 3}, 2 * std::tanh(3 * v)},
                                                     {{"hard_sigmoid", 0.2, 0.5}, std::clamp(0.2 * v + 0.5, 0.0, 1.0)},
                                                     {{"elu", 2}, v > 0 ? v : 2 * std::expm1(v)},
                                                     {{"softsign"}, v / (1 + std::abs(v))},
                                                     {{"softplus"}, std::log1p(std::exp(v))}};
  for (const auto& [activation, expected] : cases)
    EXPECT_NEAR(at(rnn(x, ih, hh, {}, {.activations = {activation}}).data(), {0, 0, 0, 0}), expected, 1e-12)
        << activation.name;
}

TEST(Recurrent, RefusesWhatDoesNotFit) {
  Generator rng(4);
  const RecurrentCase c(3, 2, 2, 2, 1, {}, rng, Given::all);
  const NDArray two_directions = NDArray::zeros({2, 2, 2}, DType::float64);
  EXPECT_THROW(rnn(c.x, two_directions, c.hh), ShapeError);
  EXPECT_THROW(rnn(c.x, c.ih, c.hh, {.h0 = NDArray::zeros({2, 2}, DType::float64)}), ShapeError);
  EXPECT_THROW(rnn(c.x, c.ih, c.hh, {.lengths = NDArray::from_vector<int64_t>({4, 1})}), ValueError);
  EXPECT_THROW(rnn(c.x, c.ih, c.hh, {.lengths = NDArray::from_vector<int64_t>({-1, 1})}), ValueError);
  EXPECT_THROW(rnn(c.x, c.ih, c.hh, {}, {.activations = {{"swish"}}}), ValueError);
  EXPECT_THROW(rnn(c.x, c.ih, c.hh, {.c0 = c.operands.h0}), ValueError);
  EXPECT_THROW(make_op("rnn", {{"direction", std::string("sideways")}}), FormatError);
}

TEST(Recurrent, TheOpIsMadeAgainFromItsAttributes) {
  Generator rng(5);
  const RecurrentOptions options{
      .direction = Direction::bidirectional, .activations = {{"relu"}, {"affine", 0.5, 0.25}}, .clip = 2};
  const RecurrentCase c(3, 2, 2, 2, 1, options, rng, Given::none);
  const Tensor x(c.x, true), y = rnn(x, c.ih, c.hh, {}, options);
  ASSERT_NE(y.op(), nullptr);
  const Tensor again = apply(make_op("rnn", y.op()->attributes()), {x, Tensor(c.ih), Tensor(c.hh)});
  EXPECT_EQ(again.data().to_vector<double>(), y.data().to_vector<double>());
}

}  // namespace
}  // namespace thimble
