#include <cmath>

#include <gtest/gtest.h>

#include "tests/core/kernels/everywhere.h"
#include "tests/core/views.h"
#include <thimble/core/kernels/recurrent/int8_cells.h>
#include <thimble/core/kernels/recurrent/recurrent_cells.h>
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/recurrent.h>
#include <thimble/core/ops/reduce.h>

namespace thimble {
namespace {

using kernels::CellKind;

std::vector<float> normal(int64_t n, uint64_t seed) {
  Generator generator(seed);
  return randn({n}, generator).to_vector<float>();
}

// What a step makes of a row, and its gradient, one behind the other.
std::vector<float> cell_of(CellKind kind, int64_t hidden) {
  const auto size = static_cast<size_t>(hidden);
  const int64_t wide = kernels::gates_of(kind) * hidden;
  std::vector<float> gates = normal(wide, 1), h = normal(hidden, 2), kept = normal(hidden, 3), out(size);
  const std::vector<float> h_part = normal(wide, 4), before = normal(hidden, 5), h_before = h,
                           out_grad = normal(hidden, 6), dh = normal(hidden, 7);
  const auto& cells = kernels::recurrent_cells<float>();
  cells.forward[static_cast<int>(kind)](
      {hidden, gates.data(), h_part.data(), before.data(), kept.data(), h.data(), out.data()});
  EXPECT_EQ(h, out);
  std::vector<float> direct(size), dc = normal(hidden, 8), d_gates(gates.size()), d_h_part(gates.size());
  cells.backward[static_cast<int>(kind)]({hidden, gates.data(), before.data(), kept.data(), h_before.data(),
                                          out_grad.data(), dh.data(), direct.data(), dc.data(), d_gates.data(),
                                          d_h_part.data()});
  std::vector<float> all;
  for (const std::vector<float>* part : {&gates, &h, &kept, &direct, &dc, &d_gates, &d_h_part})
    all.insert(all.end(), part->begin(), part->end());
  return all;
}

TEST(RecurrentKernels, CellsAreTheSameBitsOnEveryInstructionSet) {
  for (const CellKind kind : {CellKind::lstm, CellKind::gru, CellKind::tanh_rnn, CellKind::relu_rnn})
    for (const int64_t hidden : {1, 7, 16, 45}) {
      const std::vector<float> expected = cell_of(kind, hidden);
      everywhere([&] { EXPECT_EQ(cell_of(kind, hidden), expected) << static_cast<int>(kind) << ' ' << hidden; });
    }
}

// What a step makes of a row behind integer products.
std::vector<float> int8_cell_of(CellKind kind, int64_t hidden) {
  const int64_t wide = kernels::gates_of(kind) * hidden;
  const std::vector<float> x_part = normal(wide, 1), h_part = normal(wide, 2), n_bias = normal(hidden, 3);
  std::vector<float> c = normal(hidden, 4), h = normal(hidden, 5);
  kernels::int8_cells().run[static_cast<int>(kind)](
      {hidden, x_part.data(), h_part.data(), n_bias.data(), c.data(), h.data()});
  h.insert(h.end(), c.begin(), c.end());
  return h;
}

TEST(RecurrentKernels, CellsBehindIntegerProductsAreTheSameBitsOnEveryInstructionSet) {
  for (const CellKind kind : {CellKind::lstm, CellKind::gru, CellKind::tanh_rnn, CellKind::relu_rnn})
    for (const int64_t hidden : {1, 7, 16, 45}) {
      const std::vector<float> expected = int8_cell_of(kind, hidden);
      everywhere([&] { EXPECT_EQ(int8_cell_of(kind, hidden), expected) << static_cast<int>(kind) << ' ' << hidden; });
    }
}

TEST(RecurrentKernels, TheirTanhIsNearTanhAndNeverOne) {
  std::vector<float> x{HUGE_VALF, -HUGE_VALF, 1e30f, -0.0f};
  for (int i = -100000; i <= 100000; ++i) x.push_back(static_cast<float>(i) * 1e-4f);
  const std::vector<float> zeros(x.size());
  std::vector<float> h(x.size());
  const auto& cells = kernels::int8_cells();
  cells.run[static_cast<int>(CellKind::tanh_rnn)]({std::ssize(x), x.data(), zeros.data(), nullptr, nullptr, h.data()});
  for (size_t i = 0; i < x.size(); ++i) {
    ASSERT_NEAR(h[i], std::tanh(double{x[i]}), 2e-6) << x[i];
    ASSERT_LT(std::abs(h[i]), 1) << x[i];
  }
  EXPECT_FALSE(cells.has_nan(h.data(), std::ssize(h)));
  x[70] = std::nanf("");
  EXPECT_TRUE(cells.has_nan(x.data(), std::ssize(x)));
  EXPECT_FALSE(cells.has_nan(x.data(), 70));
}

// Outputs and gradients of all operands.
std::vector<NDArray> answers(const char* op, int64_t gates, DType dtype, int64_t n) {
  Generator rng(3);
  const int64_t hidden = 19, wide = gates * hidden;
  std::vector<Tensor> in;
  for (const Shape& shape : {Shape{6, n, 7}, Shape{2, wide, 7}, Shape{2, wide, hidden}, Shape{2, wide}, Shape{2, wide},
                             Shape{2, n, hidden}, Shape{2, n, hidden}})
    in.emplace_back(randn_view(shape, rng).to(dtype), true);
  std::vector<int64_t> lengths;
  for (int64_t i = 0; i < n; ++i) lengths.push_back(6 - i % 7);
  RecurrentOperands o{
      .bias_ih = in[3], .bias_hh = in[4], .lengths = NDArray::from_vector(lengths), .h0 = in[5], .c0 = in[6]};
  if (gates < 4) {
    o.c0 = {};
    in.pop_back();
  }
  const RecurrentOptions options{.direction = Direction::bidirectional};
  const auto run = gates == 4 ? lstm : gates == 3 ? gru : rnn;
  const Tensor y = run(in[0], in[1], in[2], o, options);
  EXPECT_EQ(y.op()->name(), op);
  const Tensor weights = randn_view(y.shape(), rng).to(dtype);
  std::vector<NDArray> all{y.data()};
  for (const Tensor& g : grad(sum(y * weights), in)) all.push_back(g.data());
  return all;
}

TEST(RecurrentKernels, FloatsAgreeWithFloat64Everywhere) {
  for (const auto& [op, gates] : {std::pair("lstm", 4), std::pair("gru", 3), std::pair("rnn", 1)})
    for (const int64_t n : {1, 3, 70}) {
      SCOPED_TRACE(str(op, ' ', n));
      const std::vector<NDArray> expected = answers(op, gates, DType::float64, n);
      everywhere([&, op = op, gates = gates] {
        const std::vector<NDArray> got = answers(op, gates, DType::float32, n);
        ASSERT_EQ(got.size(), expected.size());
        for (size_t i = 0; i < got.size(); ++i) {
          const auto g = got[i].to_vector<double>(), e = expected[i].to_vector<double>();
          ASSERT_EQ(g.size(), e.size());
          double scale = 1;
          for (const double v : e) scale = std::max(scale, std::abs(v));
          for (size_t k = 0; k < g.size(); ++k) ASSERT_NEAR(g[k], e[k], 2e-5 * scale) << i << ' ' << k;
        }
      });
    }
}

}  // namespace
}  // namespace thimble
