// What a QuantizedRecurrent is to compute, one number after the other.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "tests/quant/reference.h"
#include <thimble/quant/layers/quantized_recurrent.h>

namespace thimble::quant {

class RecurrentReference {
 public:
  using Cell = QuantizedRecurrent::Cell;
  using Row = std::vector<float>;

  explicit RecurrentReference(const QuantizedRecurrent& layer)
      : layer_(layer),
        c_(layer.config()),
        gates_(c_.cell == Cell::lstm  ? 4
               : c_.cell == Cell::gru ? 3
                                      : 1) {}

  /// Outputs of one sample, x [steps][input_size], of which `length` steps count; h and c [layers * directions][hidden]
  /// become the last states.
  std::vector<Row> run(std::vector<Row> x, size_t length, std::vector<Row>& h, std::vector<Row>& c) {
    std::vector<Integers> rows;
    for (const Row& row : x) rows.push_back(c_.input ? of_grid(row, *c_.input) : by_range(row, c_.activation_bits));
    for (int64_t layer = 0; layer < c_.num_layers; ++layer) {
      const auto directions = static_cast<size_t>(layer_.num_directions()),
                 first = static_cast<size_t>(layer) * directions;
      bound_ = 1;
      for (size_t d = 0; d < directions; ++d)
        for (const float v : h[first + d]) bound_ = std::max(bound_, std::abs(v));
      x.assign(rows.size(), {});
      for (size_t d = 0; d < directions; ++d) {
        const std::vector<Row> y =
            run_direction(layer_.weights(layer, d == 1), rows, length, d == 1, h[first + d], c[first + d]);
        for (size_t t = 0; t < y.size(); ++t) x[t].insert(x[t].end(), y[t].begin(), y[t].end());
      }
      for (size_t t = 0; t < x.size(); ++t) rows[t] = state_integers(x[t]);
    }
    return x;
  }

 private:
  struct Integers {
    std::vector<int> q;
    float scale;
    int zero_point;
  };

  static Integers of_grid(const Row& row, const TensorQParams& p) {
    Integers x{{}, p.scale, p.zero_point};
    for (const float v : row)
      x.q.push_back(static_cast<int>(std::clamp(std::nearbyint(v / p.scale) + static_cast<float>(p.zero_point), 0.0f,
                                                static_cast<float>(p.qmax()))));
    return x;
  }

  static Integers by_range(const Row& row, int bits) {
    return of_grid(row, TensorQParams::from(choose_qparams(NDArray::from_vector(row), {.bits = bits})));
  }

  Integers state_integers(const Row& h) const {
    return c_.cell == Cell::relu_rnn ? by_range(h, 8) : of_grid(h, {bound_ / 127, 128, 8});
  }

  static Row multiply(const Integers& x, const IntegerWeights& weights, const Row& bias) {
    const auto w = weights.shifted().to_vector<int8_t>();
    const Row step = weights.steps();
    Row y;
    for (size_t o = 0; o < step.size(); ++o) {
      int64_t sum = 0;
      for (size_t i = 0; i < x.q.size(); ++i) sum += int64_t{x.q[i] - x.zero_point} * w[o * x.q.size() + i];
      y.push_back(static_cast<float>(sum) * (x.scale * step[o]) + bias[o]);
    }
    return y;
  }

  struct Quotient {
    float above, below;
  };
  static Quotient tanh_of(float v) {
    const float x = std::clamp(v, -7.0f, 7.0f), u = x * x;
    return {x * (((0x1.0b6cacp-18f * u + 0x1.2c35f6p-9f) * u + 0x1.f893c6p-4f) * u + 0x1.ffffccp-1f),
            ((0x1.2d63bcp-13f * u + 0x1.5a555p-6f) * u + 0x1.d377f4p-2f) * u + 1};
  }
  static Quotient sigmoid_of(float v) {
    const Quotient t = tanh_of(v * 0.5f);
    return {t.below + t.above, t.below + t.below};
  }

  void step(const Row& x_part, const Row& h_part, const Row& n_bias, Row& h, Row& c) const {
    const size_t n = h.size();
    for (size_t i = 0; i < n; ++i) {
      const auto sum = [&](size_t gate) { return x_part[gate * n + i] + h_part[gate * n + i]; };
      if (c_.cell == Cell::relu_rnn) {
        h[i] = std::max(sum(0), 0.0f);
      } else if (c_.cell == Cell::tanh_rnn) {
        const Quotient t = tanh_of(sum(0));
        h[i] = t.above / t.below;
      } else if (c_.cell == Cell::lstm) {
        const Quotient in = sigmoid_of(sum(0)), forget = sigmoid_of(sum(1)), g = tanh_of(sum(2)),
                       o = sigmoid_of(sum(3));
        const float below = in.below * g.below;
        c[i] = (forget.above * c[i] * below + in.above * g.above * forget.below) / (forget.below * below);
        const Quotient t = tanh_of(c[i]);
        h[i] = o.above * t.above / (o.below * t.below);
      } else {
        const Quotient reset = sigmoid_of(sum(0)), update = sigmoid_of(sum(1));
        const float own = h_part[2 * n + i] + n_bias[i];
        const Quotient fresh = tanh_of(x_part[2 * n + i] + reset.above * own / reset.below);
        h[i] = ((update.below - update.above) * fresh.above + update.above * h[i] * fresh.below) /
               (update.below * fresh.below);
      }
    }
  }

  std::vector<Row> run_direction(const QuantizedRecurrent::Weights& w, const std::vector<Integers>& x, size_t length,
                                 bool reverse, Row& h, Row& c) const {
    const size_t n = h.size(), wide = gates_ * n;
    Row bias(wide), n_bias(n);
    if (w.bias_ih.defined()) {
      const Row of_x = w.bias_ih.data().to_vector<float>(), of_h = w.bias_hh.data().to_vector<float>();
      for (size_t i = 0; i < wide; ++i) {
        const bool apart = c_.cell == Cell::gru && i >= 2 * n;
        bias[i] = apart ? of_x[i] : of_x[i] + of_h[i];
        if (apart) n_bias[i - 2 * n] = of_h[i];
      }
    }
    std::vector<Row> y(x.size(), Row(n));
    for (size_t i = 0; i < length; ++i) {
      const size_t t = reverse ? length - 1 - i : i;
      step(multiply(x[t], w.ih, bias), multiply(state_integers(h), w.hh, Row(wide)), n_bias, h, c);
      y[t] = h;
    }
    return y;
  }

  const QuantizedRecurrent& layer_;
  const QuantizedRecurrent::Config& c_;
  size_t gates_;
  float bound_ = 1;
};

}  // namespace thimble::quant
