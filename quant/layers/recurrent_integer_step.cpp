#include <algorithm>
#include <cmath>
#include <limits>

#include <thimble/core/kernels/rounding.h>
#include <thimble/core/parallel.h>
#include <thimble/quant/layers/recurrent_integer_step.h>
#include <thimble/quant/layers/row_parameters.h>

namespace thimble::quant {

namespace {

int64_t aligned_bytes(int64_t count, DType dtype) {
  return kernels::round_up(count * static_cast<int64_t>(itemsize(dtype)), 64);
}

// Where the parts of a step's scratch begin. Inputs of layers are in two places by turns.
struct ScratchParts {
  int64_t lengths = 0, bounds = 0, integers[2] = {}, floats = 0, scale = 0, zero_point = 0, state_scale = 0, end = 0;
};

class RecurrentIntegerStep final : public nn::InferenceStep {
 public:
  RecurrentIntegerStep(RecurrentIntegerPlan plan, std::span<const nn::ValueInfo> inputs)
      : InferenceStep({output_shape(plan, inputs), plan.output ? DType::uint8 : DType::float32}),
        p_(std::move(plan)),
        inputs_(inputs.begin(), inputs.end()),
        steps_(inputs[0].shape[p_.batch_first ? 1 : 0]),
        n_(inputs[0].shape[p_.batch_first ? 0 : 1]),
        width_(p_.directions * p_.hidden_size),
        rows_(steps_ * n_),
        hands_floats_on_(p_.weights[0].kind == kernels::CellKind::relu_rnn) {
    if (p_.output) grid_ = {p_.output->scale, p_.output->zero_point, 0, p_.output->qmax()};
    lay_scratch_out();
  }

  bool is_per_sample() const override { return false; }
  int64_t scratch_bytes() const override { return at_.end; }

  int64_t weight_bytes() const override {
    int64_t sum = 0;
    for (const RecurrentRowsWeights& w : p_.weights)
      for (const GateWeights* m : {&w.ih, &w.hh}) sum += m->packed->n() * m->packed->k();
    return sum;
  }

  void run(std::span<const void* const> inputs, void* output, uint8_t* scratch) const override {
    const Run r{inputs, output, scratch, has_lengths() ? read_lengths(inputs.back(), scratch) : nullptr};
    if (p_.input)
      take_integers(static_cast<const uint8_t*>(inputs[0]), scratch);
    else
      take_floats({static_cast<const float*>(inputs[0]), p_.input_size, p_.batch_first, p_.activation_bits}, 0,
                  scratch);
    for (int64_t layer = 0; layer < p_.num_layers; ++layer) {
      run_layer(layer, r);
      if (layer + 1 < p_.num_layers) prepare_next(layer, scratch);
    }
  }

 private:
  struct Run {
    std::span<const void* const> inputs;
    void* output;
    uint8_t* scratch;
    const int64_t* lengths;
  };

  static Shape output_shape(const RecurrentIntegerPlan& p, std::span<const nn::ValueInfo> inputs) {
    Shape shape = inputs[0].shape;
    if (inputs.size() > 1) shape[p.batch_first ? 1 : 0] += p.states * p.num_layers;
    shape[2] = p.directions * p.hidden_size;
    return shape;
  }

  bool has_states() const { return inputs_.size() > 1; }
  bool has_lengths() const { return static_cast<int64_t>(inputs_.size()) == 2 + p_.states; }

  void lay_scratch_out() {
    const auto take = [&](int64_t& part, int64_t count, DType dtype) {
      part = at_.end;
      at_.end += aligned_bytes(count, dtype);
    };
    const bool has_next = p_.num_layers > 1;
    take(at_.lengths, has_lengths() ? n_ : 0, DType::int64);
    take(at_.bounds, n_, DType::float32);
    for (int64_t& part : at_.integers) take(part, rows_ * std::max(p_.input_size, has_next ? width_ : 0), DType::uint8);
    take(at_.floats, has_next && hands_floats_on_ ? rows_ * width_ : 0, DType::float32);
    take(at_.scale, rows_, DType::float32);
    take(at_.zero_point, rows_, DType::int32);
    take(at_.state_scale, has_next ? p_.directions * rows_ : 0, DType::float32);
  }

  template <typename T>
  static T* part_at(uint8_t* scratch, int64_t offset) {
    return reinterpret_cast<T*>(scratch + offset);
  }

  IntegerRows rows_of(int64_t layer, uint8_t* scratch) const {
    return {scratch + at_.integers[layer % 2], part_at<float>(scratch, at_.scale),
            part_at<int32_t>(scratch, at_.zero_point)};
  }

  const int64_t* read_lengths(const void* given, uint8_t* scratch) const {
    auto* lengths = part_at<int64_t>(scratch, at_.lengths);
    if (inputs_.back().dtype == DType::int64)
      std::copy_n(static_cast<const int64_t*>(given), n_, lengths);
    else
      std::copy_n(static_cast<const int32_t*>(given), n_, lengths);
    for (int64_t i = 0; i < n_; ++i)
      check<ValueError>(lengths[i] >= 0 && lengths[i] <= steps_, "a length is ", lengths[i], ", expected 0 to ",
                        steps_);
    return lengths;
  }

  // Integers [steps, n, input_size] and what they mean.
  void take_integers(const uint8_t* x, uint8_t* scratch) const {
    const IntegerRows to = rows_of(0, scratch);
    std::fill_n(to.scale, rows_, p_.input->scale);
    std::fill_n(to.zero_point, rows_, p_.input->zero_point);
    for (int64_t t = 0; t < steps_; ++t)
      for (int64_t i = 0; i < n_; ++i)
        std::copy_n(x + (p_.batch_first ? i * steps_ + t : t * n_ + i) * p_.input_size, p_.input_size,
                    to.data + (t * n_ + i) * p_.input_size);
  }

  struct Floats {
    const float* x;
    int64_t width;
    bool batch_first;
    int bits;  // to have
  };

  void take_floats(const Floats& f, int64_t layer, uint8_t* scratch) const {
    const QuantizationSpec spec = QuantizationSpec::activation(f.bits);
    constexpr int64_t kRowsGrain = 32 * 1024;  // elements that take a thread some microseconds
    const IntegerRows to = rows_of(layer, scratch);
    parallel_for(rows_, std::max<int64_t>(1, kRowsGrain / f.width), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const int64_t from = f.batch_first ? row % n_ * steps_ + row / n_ : row;
        const RowParameters p = quantize_row(f.x + from * f.width, f.width, spec, to.data + row * f.width);
        to.scale[row] = p.scale;
        to.zero_point[row] = p.zero_point;
      }
    });
  }

  // The next layer's input out of what a layer has given.
  void prepare_next(int64_t layer, uint8_t* scratch) const {
    if (hands_floats_on_)
      return take_floats({part_at<float>(scratch, at_.floats), width_, false, kStateBits}, layer + 1, scratch);
    const IntegerRows next = rows_of(layer + 1, scratch);
    const auto* own = part_at<float>(scratch, at_.state_scale);
    for (int64_t row = 0; row < rows_; ++row) {  // one that is NaN in any direction stays NaN
      next.scale[row] = own[row];
      for (int64_t d = 1; d < p_.directions; ++d)
        if (std::isnan(own[d * rows_ + row])) next.scale[row] = own[d * rows_ + row];
    }
    std::fill_n(next.zero_point, rows_, kStateZeroPoint);
  }

  const float* state(const Run& r, size_t i, int64_t row) const {
    if (!has_states()) return nullptr;
    return static_cast<const float*>(r.inputs[i]) + row * inputs_[i].shape[1] * p_.hidden_size;
  }
  // One row of states may be for all.
  int64_t state_row(size_t i) const { return i < inputs_.size() && inputs_[i].shape[1] > 1 ? p_.hidden_size : 0; }

  // Of the states of each sample in this layer: 1, but for samples that begin with larger ones.
  const float* bounds(int64_t layer, const Run& r) const {
    auto* bounds = part_at<float>(r.scratch, at_.bounds);
    std::fill_n(bounds, n_, 1.0f);
    for (int64_t i = 0; has_states() && i < n_; ++i)
      for (int64_t d = 0; d < p_.directions; ++d) {
        const float* h = state(r, 1, layer * p_.directions + d) + i * state_row(1);
        float low = 0, high = 0;
        if (kernels::min_max(h, {1, 1, p_.hidden_size}, &low, &high))
          bounds[i] = std::max({bounds[i], -low, high});
        else
          bounds[i] = std::numeric_limits<float>::quiet_NaN();
      }
    return bounds;
  }

  void run_layer(int64_t layer, const Run& r) const {
    const float* bound = bounds(layer, r);
    RecurrentRowsTask tasks[2];
    for (int64_t d = 0; d < p_.directions; ++d) {
      const int64_t row = layer * p_.directions + d;
      RecurrentRowsTask& t = tasks[d];
      t = {.weights = &p_.weights[static_cast<size_t>(row)],
           .steps = steps_,
           .n = n_,
           .reverse = d == 1,
           .x = rows_of(layer, r.scratch),
           .lengths = r.lengths,
           .h0 = state(r, 1, row),
           .c0 = p_.states == 2 ? state(r, 2, row) : nullptr,
           .h0_row = state_row(1),
           .c0_row = p_.states == 2 ? state_row(2) : 0,
           .bound = bound,
           .out = nullptr,
           .integers = nullptr,
           .out_step = n_ * width_,
           .out_row = width_,
           .grid = nullptr,
           .state_scale = part_at<float>(r.scratch, at_.state_scale) + d * rows_,
           .h_n = nullptr,
           .c_n = nullptr,
           .last_row = 0};
      set_output(layer, d, r, t);
      if (has_states()) set_last_states(layer, d, r, t);
    }
    run_recurrent_rows(std::span(tasks, static_cast<size_t>(p_.directions)));
  }

  void set_output(int64_t layer, int64_t d, const Run& r, RecurrentRowsTask& t) const {
    const int64_t column = d * p_.hidden_size;
    if (layer + 1 < p_.num_layers) {
      if (hands_floats_on_)
        t.out = part_at<float>(r.scratch, at_.floats) + column;
      else
        t.integers = rows_of(layer + 1, r.scratch).data + column;
      return;
    }
    if (p_.output) {
      t.integers = static_cast<uint8_t*>(r.output) + column;
      t.grid = &grid_;
    } else {
      t.out = static_cast<float*>(r.output) + column;
    }
    t.out_step = output_step();
    t.out_row = output_row();
  }

  void set_last_states(int64_t layer, int64_t d, const Run& r, RecurrentRowsTask& t) const {
    const auto last = [&](int64_t i) {
      return static_cast<float*>(r.output) + (steps_ + i * p_.num_layers + layer) * output_step() + d * p_.hidden_size;
    };
    t.h_n = last(0);
    if (p_.states == 2) t.c_n = last(1);
    t.last_row = output_row();
  }

  int64_t output_steps() const { return output().shape[p_.batch_first ? 1 : 0]; }
  int64_t output_step() const { return p_.batch_first ? width_ : n_ * width_; }
  int64_t output_row() const { return p_.batch_first ? output_steps() * width_ : width_; }

  RecurrentIntegerPlan p_;
  std::vector<nn::ValueInfo> inputs_;
  int64_t steps_, n_, width_, rows_;
  bool hands_floats_on_;
  kernels::QuantizeArgs grid_;
  ScratchParts at_;
};

}  // namespace

std::unique_ptr<nn::InferenceStep> recurrent_integer_step(RecurrentIntegerPlan plan,
                                                          std::span<const nn::ValueInfo> inputs) {
  return std::make_unique<RecurrentIntegerStep>(std::move(plan), inputs);
}

}  // namespace thimble::quant
