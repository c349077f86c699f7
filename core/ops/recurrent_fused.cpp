#include <algorithm>

#include <thimble/core/kernels/gemm/gemm.h>
#include <thimble/core/kernels/recurrent/recurrent.h>
#include <thimble/core/ops/recurrent_fused.h>
#include <thimble/core/ops/reduce.h>

namespace thimble {

namespace {

using kernels::CellKind;

// Rows of this direction; null for an undefined array.
template <typename T>
T* direction_of(const NDArray& array, int64_t d) {
  if (!array.defined()) return nullptr;
  return const_cast<T*>(array.data<T>()) + (array.shape(0) == 0 ? 0 : d * (array.numel() / array.shape(0)));
}

// All dense, lengths as int64.
RecurrentArrays dense(const RecurrentArrays& o) {
  const auto contiguous = [](const NDArray& a) { return a.defined() ? a.contiguous() : a; };
  return {o.x,
          contiguous(o.ih),
          contiguous(o.hh),
          contiguous(o.bias_ih),
          contiguous(o.bias_hh),
          o.lengths.defined() ? o.lengths.to(DType::int64).contiguous() : o.lengths,
          contiguous(o.h0),
          contiguous(o.c0)};
}

// Which products can read where they lie.
bool has_dense_rows(const NDArray& x) {
  const Shape& strides = x.strides();
  return strides[2] == 1 && strides[0] >= x.shape(2) && strides[1] >= x.shape(2);
}

template <typename T>
kernels::MatrixView<T> matrix(const T* data, int64_t rows, int64_t cols) {
  return {data, rows, cols, cols, 1};
}

NDArray empty_like(const NDArray& a) { return a.defined() ? NDArray(a.shape(), a.dtype()) : NDArray(); }

// Of an application.
struct RecurrentSizes {
  int64_t steps, n, in, directions, wide, hidden;

  explicit RecurrentSizes(const RecurrentArrays& o)
      : steps(o.x.shape(0)),
        n(o.x.shape(1)),
        in(o.x.shape(2)),
        directions(o.ih.shape(0)),
        wide(o.ih.shape(1)),
        hidden(o.hh.shape(2)) {}

  NDArray of_steps(int64_t width, DType dtype) const { return NDArray({directions, steps, n, width}, dtype); }
};

// g^T x of all steps and samples.
template <typename T>
void sum_products(const kernels::MatrixView<T>& g, const T* x, int64_t width, T* out) {
  kernels::gemm<T>(g.transposed(), matrix<T>(x, g.rows, width), out, {}, kernels::SumOrder::in_shards);
}

// sum + g w, w [g.cols, shape.back()]; sum may be undefined.
template <typename T>
NDArray plus_product(const NDArray& sum, const kernels::MatrixView<T>& g, const T* w, const Shape& shape) {
  NDArray out(shape, dtype_of<T>);
  kernels::gemm<T>(g, matrix<T>(w, g.cols, shape.back()), out.data<T>(),
                   {.addend = sum.defined() ? sum.data<T>() : nullptr});
  return out;
}

// A copy of one of the rows behind the outputs: [D, n, hidden].
NDArray state_gradient(const NDArray& out_grad, int64_t row) {
  return out_grad.slice(0, row, row + 1).clone().reshape({out_grad.shape(1), out_grad.shape(2), out_grad.shape(3)});
}

// Of direction d's rows.
NDArray sum_of_rows(const NDArray& g, int64_t d) {
  const NoGrad guard;
  return sum(Tensor(g.slice(0, d, d + 1).reshape({g.shape(1) * g.shape(2), g.shape(3)})), {0}).data();
}

void put(const NDArray& whole, int64_t d, const NDArray& part) {
  NDArray to = whole.slice(0, d, d + 1);
  to.copy_from(part.reshape(to.shape()));
}

// A copy of x [steps, n, in] with zeros behind the ends of sequences: what lies there may be NaN, and is multiplied
// with the gates' gradients, which are 0.
template <typename T>
NDArray without_hidden_steps(const NDArray& x, const NDArray& lengths) {
  NDArray seen = x.contiguous().clone();
  const int64_t n = x.shape(1), in = x.shape(2);
  for (int64_t t = 0; t < x.shape(0); ++t)
    for (int64_t row = 0; row < n; ++row)
      if (t >= lengths.data<int64_t>()[row]) std::fill_n(seen.data<T>() + (t * n + row) * in, in, T(0));
  return seen;
}

}  // namespace

NDArray FusedRecurrent::compute(const RecurrentArrays& operands, bool keep) {
  return operands.x.dtype() == DType::float64 ? compute_as<double>(operands, keep) : compute_as<float>(operands, keep);
}

RecurrentArrays FusedRecurrent::gradient(const RecurrentArrays& operands, const NDArray& out_grad, bool wants_x) {
  if (!gates_.defined()) compute(operands, true);
  return operands.x.dtype() == DType::float64 ? gradient_as<double>(operands, out_grad, wants_x)
                                              : gradient_as<float>(operands, out_grad, wants_x);
}

template <typename T>
NDArray FusedRecurrent::compute_as(const RecurrentArrays& operands, bool keep) {
  RecurrentArrays o = dense(operands);
  if (!has_dense_rows(o.x)) o.x = o.x.contiguous();
  const RecurrentSizes s(o);
  const int64_t states = kind_ == CellKind::lstm ? 2 : 1, size = s.n * s.hidden, in_step = s.directions * size;
  NDArray y({s.steps + states, s.directions, s.n, s.hidden}, o.x.dtype());
  if (keep) {
    gates_ = s.of_steps(s.wide, o.x.dtype());
    kept_ = kind_ == CellKind::lstm || kind_ == CellKind::gru ? s.of_steps(s.hidden, o.x.dtype()) : NDArray();
    h_before_ = s.of_steps(s.hidden, o.x.dtype());
  }
  std::vector<kernels::RecurrentWeights<T>> weights;
  std::vector<kernels::RecurrentTask<T>> tasks;
  weights.reserve(static_cast<size_t>(s.directions));
  for (int64_t d = 0; d < s.directions; ++d) {
    weights.emplace_back(kind_, s.in, s.hidden, direction_of<T>(o.ih, d), direction_of<T>(o.hh, d),
                         direction_of<T>(o.bias_ih, d), direction_of<T>(o.bias_hh, d));
    T *out = y.data<T>() + d * size, *h_n = out + s.steps * in_step;
    tasks.push_back({.weights = &weights.back(),
                     .steps = s.steps,
                     .n = s.n,
                     .reverse = is_reverse(d),
                     .x = o.x.data<T>(),
                     .x_step = o.x.strides()[0],
                     .x_row = o.x.strides()[1],
                     .lengths = direction_of<int64_t>(o.lengths, 0),
                     .h0 = direction_of<T>(o.h0, d),
                     .c0 = direction_of<T>(o.c0, d),
                     .h0_row = s.hidden,
                     .c0_row = s.hidden,
                     .out = out,
                     .out_step = in_step,
                     .out_row = s.hidden,
                     .h_n = h_n,
                     .c_n = states == 2 ? h_n + in_step : nullptr,
                     .last_row = s.hidden,
                     .kept = keep ? kept_of<T>(d) : kernels::RecurrentKept<T>{}});
  }
  kernels::run_recurrent<T>(tasks);
  return y;
}

template <typename T>
kernels::RecurrentKept<T> FusedRecurrent::kept_of(int64_t d) const {
  return {direction_of<T>(gates_, d), direction_of<T>(kept_, d), direction_of<T>(h_before_, d)};
}

template <typename T>
RecurrentArrays FusedRecurrent::gradient_as(const RecurrentArrays& operands, const NDArray& any_out_grad,
                                            bool wants_x) const {
  RecurrentArrays o = dense(operands);
  o.x = o.lengths.defined() ? without_hidden_steps<T>(o.x, o.lengths) : o.x.contiguous();
  const RecurrentSizes s(o);
  const NDArray out_grad = any_out_grad.contiguous();
  const NDArray d_gates = s.of_steps(s.wide, o.x.dtype()),
                d_h_part = kind_ == CellKind::gru ? empty_like(d_gates) : d_gates;
  RecurrentArrays grads{.ih = empty_like(o.ih),
                        .hh = empty_like(o.hh),
                        .bias_ih = empty_like(o.bias_ih),
                        .bias_hh = empty_like(o.bias_hh),
                        .h0 = state_gradient(out_grad, s.steps),
                        .c0 = kind_ == CellKind::lstm ? state_gradient(out_grad, s.steps + 1) : NDArray()};
  run_backward<T>(o, out_grad, d_gates, d_h_part, grads);
  for (int64_t d = 0; d < s.directions; ++d) {
    const auto of_gates = matrix<T>(direction_of<T>(d_gates, d), s.steps * s.n, s.wide),
               of_h_part = matrix<T>(direction_of<T>(d_h_part, d), s.steps * s.n, s.wide);
    sum_products(of_gates, o.x.data<T>(), s.in, direction_of<T>(grads.ih, d));
    sum_products(of_h_part, direction_of<T>(h_before_, d), s.hidden, direction_of<T>(grads.hh, d));
    if (wants_x) grads.x = plus_product(grads.x, of_gates, direction_of<T>(o.ih, d), o.x.shape());
    if (!o.bias_ih.defined()) continue;
    const NDArray bias = sum_of_rows(d_gates, d);
    put(grads.bias_ih, d, bias);
    put(grads.bias_hh, d, kind_ == CellKind::gru ? sum_of_rows(d_h_part, d) : bias);
  }
  return grads;
}

// What the gates' gradients are. Those of the first states take the place of those of the last.
template <typename T>
void FusedRecurrent::run_backward(const RecurrentArrays& o, const NDArray& out_grad, const NDArray& d_gates,
                                  const NDArray& d_h_part, const RecurrentArrays& grads) const {
  const RecurrentSizes s(o);
  const int64_t size = s.n * s.hidden;
  std::vector<kernels::StepMatrix<T>> hh;
  std::vector<kernels::RecurrentGradientTask<T>> tasks;
  hh.reserve(static_cast<size_t>(s.directions));
  for (int64_t d = 0; d < s.directions; ++d) {
    hh.emplace_back(direction_of<T>(o.hh, d), s.wide, s.hidden, s.hidden, 1);
    tasks.push_back({.kind = kind_,
                     .hh = &hh.back(),
                     .steps = s.steps,
                     .n = s.n,
                     .reverse = is_reverse(d),
                     .lengths = direction_of<int64_t>(o.lengths, 0),
                     .c0 = direction_of<T>(o.c0, d),
                     .kept = kept_of<T>(d),
                     .out_grad = out_grad.data<T>() + d * size,
                     .out_step = s.directions * size,
                     .out_row = s.hidden,
                     .d_gates = direction_of<T>(d_gates, d),
                     .d_h_part = direction_of<T>(d_h_part, d),
                     .dh = direction_of<T>(grads.h0, d),
                     .dc = direction_of<T>(grads.c0, d)});
  }
  kernels::run_recurrent_gradient<T>(tasks);
}

}  // namespace thimble
