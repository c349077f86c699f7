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

void put(const NDArray& whole, int64_t d, const NDArray& part) {
  NDArray to = whole.slice(0, d, d + 1);
  to.copy_from(part.reshape(to.shape()));
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
  const int64_t steps = o.x.shape(0), n = o.x.shape(1), in = o.x.shape(2), d_count = o.ih.shape(0),
                wide = o.ih.shape(1), hidden = o.hh.shape(2), states = kind_ == CellKind::lstm ? 2 : 1;
  const DType dtype = o.x.dtype();
  NDArray y({steps + states, d_count, n, hidden}, dtype);
  if (keep) {
    gates_ = NDArray({d_count, steps, n, wide}, dtype);
    kept_ = wide > hidden ? NDArray({d_count, steps, n, hidden}, dtype) : NDArray();
    h_before_ = NDArray({d_count, steps, n, hidden}, dtype);
  }
  std::vector<kernels::RecurrentWeights<T>> weights;
  std::vector<kernels::RecurrentTask<T>> tasks;
  weights.reserve(static_cast<size_t>(d_count));
  const int64_t size = n * hidden;
  for (int64_t d = 0; d < d_count; ++d) {
    weights.emplace_back(kind_, in, hidden, direction_of<T>(o.ih, d), direction_of<T>(o.hh, d),
                         direction_of<T>(o.bias_ih, d), direction_of<T>(o.bias_hh, d));
    T *out = y.data<T>() + d * size, *h_n = out + steps * d_count * size;
    tasks.push_back({.weights = &weights.back(),
                     .steps = steps,
                     .n = n,
                     .reverse = direction_ == Direction::reverse || d == 1,
                     .x = o.x.data<T>(),
                     .x_step = o.x.strides()[0],
                     .x_row = o.x.strides()[1],
                     .lengths = o.lengths.defined() ? o.lengths.data<int64_t>() : nullptr,
                     .h0 = direction_of<T>(o.h0, d),
                     .c0 = direction_of<T>(o.c0, d),
                     .h0_row = hidden,
                     .c0_row = hidden,
                     .out = out,
                     .out_step = d_count * size,
                     .out_row = hidden,
                     .h_n = h_n,
                     .c_n = states == 2 ? h_n + d_count * size : nullptr,
                     .last_row = hidden,
                     .kept = keep ? kernels::RecurrentKept<T>{direction_of<T>(gates_, d), direction_of<T>(kept_, d),
                                                              direction_of<T>(h_before_, d)}
                                  : kernels::RecurrentKept<T>{}});
  }
  kernels::run_recurrent<T>(tasks);
  return y;
}

template <typename T>
RecurrentArrays FusedRecurrent::gradient_as(const RecurrentArrays& operands, const NDArray& any_out_grad,
                                            bool wants_x) const {
  RecurrentArrays o = dense(operands);
  o.x = o.x.contiguous();
  const NDArray out_grad = any_out_grad.contiguous();
  const int64_t steps = o.x.shape(0), n = o.x.shape(1), in = o.x.shape(2), d_count = o.ih.shape(0),
                wide = o.ih.shape(1), hidden = o.hh.shape(2), size = n * hidden, rows = steps * n;
  const bool is_lstm = kind_ == CellKind::lstm, is_gru = kind_ == CellKind::gru;
  const DType dtype = o.x.dtype();
  const NDArray d_gates({d_count, steps, n, wide}, dtype), d_h_part = is_gru ? empty_like(d_gates) : d_gates;
  NDArray dh = out_grad.slice(0, steps, steps + 1).clone().reshape({d_count, n, hidden});
  NDArray dc = is_lstm ? out_grad.slice(0, steps + 1, steps + 2).clone().reshape({d_count, n, hidden}) : NDArray();
  std::vector<kernels::StepMatrix<T>> hh;
  std::vector<kernels::RecurrentGradientTask<T>> tasks;
  hh.reserve(static_cast<size_t>(d_count));
  for (int64_t d = 0; d < d_count; ++d) {
    hh.emplace_back(direction_of<T>(o.hh, d), wide, hidden, hidden, 1);
    tasks.push_back({.kind = kind_,
                     .hh = &hh.back(),
                     .steps = steps,
                     .n = n,
                     .reverse = direction_ == Direction::reverse || d == 1,
                     .lengths = o.lengths.defined() ? o.lengths.data<int64_t>() : nullptr,
                     .c0 = direction_of<T>(o.c0, d),
                     .kept = {direction_of<T>(gates_, d), direction_of<T>(kept_, d), direction_of<T>(h_before_, d)},
                     .out_grad = out_grad.data<T>() + d * size,
                     .out_step = d_count * size,
                     .out_row = hidden,
                     .d_gates = direction_of<T>(d_gates, d),
                     .d_h_part = direction_of<T>(d_h_part, d),
                     .dh = direction_of<T>(dh, d),
                     .dc = direction_of<T>(dc, d)});
  }
  kernels::run_recurrent_gradient<T>(tasks);

  RecurrentArrays grads{.x = {},
                        .ih = empty_like(o.ih),
                        .hh = empty_like(o.hh),
                        .bias_ih = empty_like(o.bias_ih),
                        .bias_hh = empty_like(o.bias_hh),
                        .lengths = {},
                        .h0 = dh,
                        .c0 = dc};
  const NoGrad guard;
  for (int64_t d = 0; d < d_count; ++d) {
    const auto of_gates = matrix<T>(direction_of<T>(d_gates, d), rows, wide),
               of_h_part = matrix<T>(direction_of<T>(d_h_part, d), rows, wide);
    kernels::gemm<T>(of_gates.transposed(), matrix<T>(o.x.data<T>(), rows, in), direction_of<T>(grads.ih, d), {},
                     kernels::SumOrder::in_shards);
    kernels::gemm<T>(of_h_part.transposed(), matrix<T>(direction_of<T>(h_before_, d), rows, hidden),
                     direction_of<T>(grads.hh, d), {}, kernels::SumOrder::in_shards);
    if (wants_x) {
      NDArray dx(o.x.shape(), dtype);
      kernels::gemm<T>(of_gates, matrix<T>(direction_of<T>(o.ih, d), wide, in), dx.data<T>(),
                       {.addend = d > 0 ? grads.x.data<T>() : nullptr});
      grads.x = dx;
    }
    if (!o.bias_ih.defined()) continue;
    const auto summed = [&](const NDArray& all) {
      return sum(Tensor(all.slice(0, d, d + 1).reshape({rows, wide})), {0}).data();
    };
    const NDArray bias = summed(d_gates);
    put(grads.bias_ih, d, bias);
    put(grads.bias_hh, d, is_gru ? summed(d_h_part) : bias);
  }
  return grads;
}

}  // namespace thimble
