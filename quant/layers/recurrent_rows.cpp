#include <algorithm>
#include <cmath>
#include <limits>

#include <thimble/core/kernels/recurrent/divide_rows.h>
#include <thimble/core/kernels/rounding.h>
#include <thimble/core/kernels/scratch.h>
#include <thimble/quant/layers/recurrent_rows.h>
#include <thimble/quant/layers/row_parameters.h>

namespace thimble::quant {

namespace {

constexpr int64_t kRowsOfProduct =
    64;  // of W x, of several steps, so that weights are read as seldom as sums fit caches
constexpr float kNotANumber = std::numeric_limits<float>::quiet_NaN();

// out [rows, gates * hidden] = the rows' sums, in floats.
void multiply(const uint8_t* a, const float* scale, const int32_t* zero_point, int64_t rows, const GateWeights& w,
              const float* bias, float* out) {
  const int64_t wide = w.packed->n(), k = w.packed->k();
  kernels::int8_gemm_serial(a, k, rows, *w.packed,
                            kernels::Int8RowEpilogue{.sums = w.packed->channel_sums().data(),
                                                     .step = w.step.data(),
                                                     .bias = bias,
                                                     .zero_point = zero_point,
                                                     .scale = scale},
                            out, wide);
  for (int64_t r = 0; r < rows; ++r)
    if (std::isnan(scale[r])) std::fill_n(out + r * wide, wide, kNotANumber);
}

const float* data_or_null(const std::vector<float>& values) { return values.empty() ? nullptr : values.data(); }

// The memory of a thread, part after part.
class Parts {
 public:
  explicit Parts(uint8_t* memory) : at_(memory) {}
  template <typename T>
  T* take(int64_t count) {
    T* part = reinterpret_cast<T*>(at_);
    at_ += bytes_of<T>(count);
    return part;
  }
  template <typename T>
  static int64_t bytes_of(int64_t count) {
    return kernels::round_up(count * static_cast<int64_t>(sizeof(T)), 64);
  }

 private:
  uint8_t* at_;
};

// The steps of some rows.
class Rows {
 public:
  Rows(const RecurrentRowsTask& task, int64_t row, int64_t rows)
      : t_(task),
        w_(*task.weights),
        row_(row),
        rows_(rows),
        hidden_(w_.hidden),
        wide_(w_.hh.packed->n()),
        steps_at_once_(
            rows == task.n ? std::max<int64_t>(1, std::min(kernels::ceil_div(kRowsOfProduct, rows), task.steps)) : 1) {
    const int64_t size = rows * hidden_;
    Parts parts(kernels::thread_scratch(kernels::ScratchUse::rows,
                                        2 * Parts::bytes_of<float>(size) + Parts::bytes_of<float>(rows * wide_) +
                                            Parts::bytes_of<float>(steps_at_once_ * rows * wide_) +
                                            Parts::bytes_of<uint8_t>(size) + 2 * Parts::bytes_of<float>(rows)));
    h_ = parts.take<float>(size);
    c_ = parts.take<float>(size);
    h_part_ = parts.take<float>(rows * wide_);
    x_part_ = parts.take<float>(steps_at_once_ * rows * wide_);
    state_ = parts.take<uint8_t>(size);
    scale_ = parts.take<float>(rows);
    zero_point_ = parts.take<int32_t>(rows);
  }

  void run() {
    begin_with(t_.h0, t_.h0_row, h_);
    if (is_lstm()) begin_with(t_.c0, t_.c0_row, c_);
    for (int64_t r = 0; r < rows_; ++r) round_state(r);
    for (int64_t i = 0; i < t_.steps; ++i) {
      if (i % steps_at_once_ == 0) multiply_inputs(i, std::min(steps_at_once_, t_.steps - i));
      step(kernels::step_time(i, t_.steps, t_.reverse));
    }
    end_with(h_, t_.h_n);
    end_with(c_, t_.c_n);
  }

 private:
  bool is_lstm() const { return w_.kind == kernels::CellKind::lstm; }

  void begin_with(const float* given, int64_t given_row, float* state) const {
    for (int64_t r = 0; r < rows_; ++r) {
      float* to = state + r * hidden_;
      if (given)
        std::copy_n(given + (row_ + r) * given_row, hidden_, to);
      else
        std::fill_n(to, hidden_, 0.0f);
    }
  }

  void end_with(const float* state, float* last) const {
    for (int64_t r = 0; last && r < rows_; ++r)
      std::copy_n(state + r * hidden_, hidden_, last + (row_ + r) * t_.last_row);
  }

  // W x of `count` steps, the first of which is the i-th to be made.
  void multiply_inputs(int64_t i, int64_t count) {
    first_time_ = t_.reverse ? t_.steps - i - count : i;
    const int64_t at = first_time_ * t_.n + row_;
    multiply(t_.x.data + at * w_.ih.packed->k(), t_.x.scale + at, t_.x.zero_point + at, count * rows_, w_.ih,
             data_or_null(w_.bias), x_part_);
  }

  // The row's integers for the next product.
  void round_state(int64_t r) {
    const float* h = h_ + r * hidden_;
    uint8_t* to = state_ + r * hidden_;
    if (w_.kind == kernels::CellKind::relu_rnn) {
      const RowParameters p = quantize_row(h, hidden_, QuantizationSpec::activation(kStateBits), to);
      scale_[r] = p.scale;
      zero_point_[r] = p.zero_point;
      return;
    }
    const float scale = t_.bound[row_ + r] / kStateSteps;
    zero_point_[r] = kStateZeroPoint;
    scale_[r] = std::isnan(scale) || kernels::int8_cells().has_nan(h, hidden_) ? kNotANumber : scale;
    if (!std::isnan(scale_[r])) kernels::quantize(h, hidden_, {scale, kStateZeroPoint, 0, 255}, to);
  }

  void step(int64_t time) {
    multiply(state_, scale_, zero_point_, rows_, w_.hh, nullptr, h_part_);
    const auto cell = kernels::int8_cells().run[static_cast<int>(w_.kind)];
    const float* x_part = x_part_ + (time - first_time_) * rows_ * wide_;
    for (int64_t r = 0; r < rows_; ++r) {
      const bool is_over = t_.lengths && time >= t_.lengths[row_ + r];
      if (!is_over) {
        cell({.hidden = hidden_,
              .x_part = x_part + r * wide_,
              .h_part = h_part_ + r * wide_,
              .n_bias = data_or_null(w_.n_bias),
              .c = c_ + r * hidden_,
              .h = h_ + r * hidden_});
        round_state(r);
      }
      if (t_.out)
        write_floats(time, r, is_over);
      else
        write_integers(time, r, is_over);
    }
  }

  void write_floats(int64_t time, int64_t r, bool is_over) const {
    float* out = t_.out + time * t_.out_step + (row_ + r) * t_.out_row;
    if (is_over)
      std::fill_n(out, hidden_, 0.0f);
    else
      std::copy_n(h_ + r * hidden_, hidden_, out);
  }

  void write_integers(int64_t time, int64_t r, bool is_over) const {
    uint8_t* out = t_.integers + time * t_.out_step + (row_ + r) * t_.out_row;
    if (is_over)
      std::fill_n(out, hidden_, static_cast<uint8_t>(t_.grid ? t_.grid->zero_point : kStateZeroPoint));
    else if (t_.grid)
      kernels::quantize(h_ + r * hidden_, hidden_, *t_.grid, out);
    else
      std::copy_n(state_ + r * hidden_, hidden_, out);
    if (!t_.grid) t_.state_scale[time * t_.n + row_ + r] = is_over ? t_.bound[row_ + r] / kStateSteps : scale_[r];
  }

  const RecurrentRowsTask& t_;
  const RecurrentRowsWeights& w_;
  int64_t row_, rows_, hidden_, wide_, steps_at_once_, first_time_ = 0;
  float *h_, *c_, *h_part_, *x_part_, *scale_;
  uint8_t* state_;
  int32_t* zero_point_;
};

}  // namespace

void run_recurrent_rows(std::span<const RecurrentRowsTask> directions) {
  const RecurrentRowsTask& one = directions[0];
  if (one.n == 0) return;
  const RecurrentRowsWeights& w = *one.weights;
  // Integers multiply a few times as fast as floats, for which the division counts.
  const int64_t work = one.steps * w.hh.packed->n() * (w.ih.packed->k() + w.hidden) / 4;
  kernels::divide_rows(directions, one.n, work,
                       [](const RecurrentRowsTask& t, int64_t row, int64_t rows) { Rows(t, row, rows).run(); });
}

}  // namespace thimble::quant
