#include <algorithm>
#include <type_traits>

#include <thimble/core/kernels/gemm/gemm.h>
#include <thimble/core/kernels/recurrent/divide_rows.h>
#include <thimble/core/kernels/recurrent/recurrent.h>
#include <thimble/core/kernels/rounding.h>
#include <thimble/core/kernels/scratch.h>

namespace thimble::kernels {

namespace {

constexpr int64_t kRowsOfProduct =
    56;  // of W x, of several steps, so that weights are read as seldom as sums fit caches

// The steps of some rows.
template <typename T>
class RowsForward {
 public:
  RowsForward(const RecurrentTask<T>& task, int64_t row, int64_t rows)
      : t_(task),
        w_(*task.weights),
        row_(row),
        rows_(rows),
        hidden_(w_.hidden()),
        wide_(w_.wide()),
        rows_lie_together_(rows == task.n && (task.n == 1 || task.x_step == task.n * task.x_row)),
        steps_at_once_(rows_lie_together_ ? std::max<int64_t>(1, std::min(ceil_div(kRowsOfProduct, rows), task.steps))
                                          : 1) {
    const int64_t own_gates = t_.kept.gates ? 0 : steps_at_once_ * rows * wide_;
    h_ = thread_scratch_of<T>(ScratchUse::rows, rows * (2 * hidden_ + wide_) + own_gates);
    state_ = h_ + rows * hidden_;
    h_part_ = state_ + rows * hidden_;
    gates_ = h_part_ + rows * wide_;
  }

  void run() {
    begin_with(t_.h0, t_.h0_row, h_);
    begin_with(t_.c0, t_.c0_row, state_);
    for (int64_t i = 0; i < t_.steps; ++i) {
      if (i % steps_at_once_ == 0) multiply_inputs(i, std::min(steps_at_once_, t_.steps - i));
      step(i);
    }
    end_with(h_, t_.h_n);
    end_with(cell_before(t_.steps), t_.c_n);
  }

 private:
  void begin_with(const T* given, int64_t given_row, T* state) const {
    for (int64_t r = 0; r < rows_; ++r) {
      T* to = state + r * hidden_;
      if (given)
        std::copy_n(given + (row_ + r) * given_row, hidden_, to);
      else
        std::fill_n(to, hidden_, T{0});
    }
  }

  void end_with(const T* state, T* last) const {
    for (int64_t r = 0; last && r < rows_; ++r)
      std::copy_n(state + r * hidden_, hidden_, last + (row_ + r) * t_.last_row);
  }

  // The first of this thread's rows, of an array [steps, n, width].
  template <typename P>
  P* rows_at(P* all, int64_t time, int64_t width) const {
    return all + (time * t_.n + row_) * width;
  }

  T* gates_at(int64_t time) const {
    if (t_.kept.gates) return rows_at(t_.kept.gates, time, wide_);
    return gates_ + (time - first_time_) * rows_ * wide_;
  }

  // W x of `count` steps, the first of which is the i-th to be made.
  void multiply_inputs(int64_t i, int64_t count) {
    first_time_ = t_.reverse ? t_.steps - i - count : i;
    const T* x = t_.x + first_time_ * t_.x_step + row_ * t_.x_row;
    w_.ih().multiply(x, rows_lie_together_ && t_.n == 1 ? t_.x_step : t_.x_row, count * rows_, gates_at(first_time_),
                     w_.x_bias());
  }

  // lstm: the cell that step i begins with.
  const T* cell_before(int64_t i) const {
    return i == 0 || !t_.kept.kept ? state_ : rows_at(t_.kept.kept, step_time(i - 1, t_.steps, t_.reverse), hidden_);
  }

  void step(int64_t i) {
    const int64_t time = step_time(i, t_.steps, t_.reverse);
    const auto cell = recurrent_cells<T>().forward[static_cast<int>(w_.kind())];
    if (t_.kept.h_before) std::copy_n(h_, rows_ * hidden_, rows_at(t_.kept.h_before, time, hidden_));
    w_.hh().multiply(h_, hidden_, rows_, h_part_, w_.h_bias());
    T *gates = gates_at(time), *kept = t_.kept.kept ? rows_at(t_.kept.kept, time, hidden_) : state_;
    const T* before = cell_before(i);
    for (int64_t r = 0; r < rows_; ++r) {
      T* out = t_.out + time * t_.out_step + (row_ + r) * t_.out_row;
      const int64_t at = r * hidden_;
      if (t_.lengths && time >= t_.lengths[row_ + r]) {
        std::fill_n(out, hidden_, T{0});
        if (kept != state_) std::copy_n(before + at, hidden_, kept + at);
      } else {
        cell({hidden_, gates + r * wide_, h_part_ + r * wide_, before + at, kept + at, h_ + at, out});
      }
    }
  }

  const RecurrentTask<T>& t_;
  const RecurrentWeights<T>& w_;
  int64_t row_, rows_, hidden_, wide_;
  bool rows_lie_together_;
  int64_t steps_at_once_, first_time_ = 0;
  T *h_, *state_, *h_part_, *gates_;
};

template <typename T>
void run_rows_backward(const RecurrentGradientTask<T>& t, int64_t row, int64_t rows) {
  const int64_t hidden = t.hh->n(), wide = t.hh->k(), size = rows * hidden;
  const auto cell = recurrent_cells<T>().backward[static_cast<int>(t.kind)];
  T *direct = thread_scratch_of<T>(ScratchUse::rows, 2 * size), *c0 = direct + size;
  if (t.c0)
    std::copy_n(t.c0 + row * hidden, size, c0);
  else
    std::fill_n(c0, size, T{0});
  T *dh = t.dh + row * hidden, *dc = t.dc ? t.dc + row * hidden : nullptr;
  const auto rows_at = [&](auto* all, int64_t time, int64_t width) {
    return all ? all + (time * t.n + row) * width : all;
  };
  const auto part_at = [](auto* all, int64_t offset) { return all ? all + offset : all; };
  for (int64_t i = t.steps - 1; i >= 0; --i) {
    const int64_t time = step_time(i, t.steps, t.reverse);
    const T* before =
        i == 0 || t.kind != CellKind::lstm ? c0 : rows_at(t.kept.kept, step_time(i - 1, t.steps, t.reverse), hidden);
    T *d_gates = rows_at(t.d_gates, time, wide), *d_h_part = rows_at(t.d_h_part, time, wide);
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t at = r * hidden, wide_at = r * wide;
      if (t.lengths && time >= t.lengths[row + r]) {
        std::fill_n(d_gates + wide_at, wide, T{0});
        std::fill_n(d_h_part + wide_at, wide, T{0});
        std::copy_n(dh + at, hidden, direct + at);
        continue;
      }
      cell({.hidden = hidden,
            .gates = rows_at(t.kept.gates, time, wide) + wide_at,
            .before = before + at,
            .kept = part_at(rows_at(t.kept.kept, time, hidden), at),
            .h_before = rows_at(t.kept.h_before, time, hidden) + at,
            .out_grad = t.out_grad + time * t.out_step + (row + r) * t.out_row,
            .dh = dh + at,
            .direct = direct + at,
            .dc = part_at(dc, at),
            .d_gates = d_gates + wide_at,
            .d_h_part = d_h_part + wide_at});
    }
    t.hh->multiply(d_h_part, wide, rows, dh, nullptr, direct);
  }
}

}  // namespace

template <typename T>
StepMatrix<T>::StepMatrix(const T* data, int64_t k, int64_t n, int64_t row_stride, int64_t col_stride)
    : k_(k), n_(n), row_stride_(row_stride), col_stride_(col_stride), data_(data) {
  if constexpr (std::is_same_v<T, float>) packed_ = std::make_unique<PackedMatrix>(data, k, n, row_stride, col_stride);
}

template <typename T>
void StepMatrix<T>::multiply(const T* a, int64_t lda, int64_t m, T* c, const T* bias, const T* addend) const {
  const Epilogue<T> epilogue{.bias = bias, .addend = addend};
  if constexpr (std::is_same_v<T, float>)
    packed_gemm(a, lda, m, *packed_, c, n_, epilogue);
  else
    gemm_serial<T>({a, m, k_, lda, 1}, {data_, k_, n_, row_stride_, col_stride_}, c, epilogue);
}

template <typename T>
RecurrentWeights<T>::RecurrentWeights(CellKind kind, int64_t in, int64_t hidden, const T* ih, const T* hh,
                                      const T* bias_ih, const T* bias_hh)
    : kind_(kind), ih_(ih, in, gates_of(kind) * hidden, 1, in), hh_(hh, hidden, gates_of(kind) * hidden, 1, hidden) {
  if (!bias_ih) return;
  x_bias_.assign(bias_ih, bias_ih + wide());
  if (kind == CellKind::gru)
    h_bias_.assign(bias_hh, bias_hh + wide());
  else
    for (size_t i = 0; i < x_bias_.size(); ++i) x_bias_[i] += bias_hh[i];
}

template <typename T>
void run_recurrent(std::span<const RecurrentTask<T>> directions) {
  const RecurrentTask<T>& one = directions[0];
  if (one.n == 0) return;
  const RecurrentWeights<T>& w = *one.weights;
  divide_rows(directions, one.n, one.steps * w.wide() * (w.in() + w.hidden()),
              [](const RecurrentTask<T>& t, int64_t row, int64_t rows) { RowsForward<T>(t, row, rows).run(); });
}

template <typename T>
void run_recurrent_gradient(std::span<const RecurrentGradientTask<T>> directions) {
  const RecurrentGradientTask<T>& one = directions[0];
  if (one.n == 0) return;
  divide_rows(directions, one.n, one.steps * one.hh->k() * one.hh->n(), run_rows_backward<T>);
}

template class StepMatrix<float>;
template class StepMatrix<double>;
template class RecurrentWeights<float>;
template class RecurrentWeights<double>;
template void run_recurrent(std::span<const RecurrentTask<float>>);
template void run_recurrent(std::span<const RecurrentTask<double>>);
template void run_recurrent_gradient(std::span<const RecurrentGradientTask<float>>);
template void run_recurrent_gradient(std::span<const RecurrentGradientTask<double>>);

}  // namespace thimble::kernels
