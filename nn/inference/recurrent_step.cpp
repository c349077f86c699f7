#include <algorithm>

#include <thimble/core/kernels/recurrent/recurrent.h>
#include <thimble/core/kernels/rounding.h>
#include <thimble/nn/inference/recurrent_step.h>
#include <thimble/nn/inference/shared_weights.h>

namespace thimble::nn {

namespace {

using Weights = kernels::RecurrentWeights<float>;
using Task = kernels::RecurrentTask<float>;

// Elements from one step, and from one row, to the next.
struct Distances {
  int64_t step, row;
};

class RecurrentStep : public InferenceStep {
 public:
  RecurrentStep(RecurrentPlan plan, std::span<const ValueInfo> inputs)
      : InferenceStep({output_shape(plan, inputs)}), p_(std::move(plan)), inputs_(inputs.begin(), inputs.end()) {
    const Shape& x = inputs_[0].shape;
    steps_ = x[p_.batch_first ? 1 : 0];
    n_ = x[p_.batch_first ? 0 : 1];
    width_ = p_.directions * p_.hidden_size;
    has_lengths_ = static_cast<int64_t>(inputs_.size()) == 2 + p_.states;
  }

  void prepare(SharedWeights& shared) override {
    weights_.clear();
    for (size_t i = 0; i < p_.weights.size(); ++i) {
      const bool is_first = static_cast<int64_t>(i) < p_.directions;
      weights_.push_back(shared.get<Weights>({static_cast<int64_t>(i)}, [&] {
        const RecurrentLayer::Weights& w = p_.weights[i];
        const NDArray ih = w.ih.data().contiguous(), hh = w.hh.data().contiguous(),
                      bias_ih = w.bias_ih.defined() ? w.bias_ih.data().contiguous() : NDArray(),
                      bias_hh = w.bias_ih.defined() ? w.bias_hh.data().contiguous() : NDArray();
        return Weights(p_.kind, is_first ? p_.input_size : width_, p_.hidden_size, ih.data<float>(), hh.data<float>(),
                       bias_ih.defined() ? bias_ih.data<float>() : nullptr,
                       bias_ih.defined() ? bias_hh.data<float>() : nullptr);
      }));
    }
  }

  bool is_per_sample() const override { return false; }

  int64_t weight_bytes() const override {
    int64_t sum = 0;
    for (const auto& w : weights_) sum += w->nbytes();
    return sum;
  }

  // Outputs of two layers, and lengths as int64.
  int64_t scratch_bytes() const override {
    return lengths_bytes() + std::min<int64_t>(2, p_.num_layers - 1) * layer_bytes();
  }

  void run(std::span<const void* const> inputs, void* output, uint8_t* scratch) const override {
    const int64_t* lengths = has_lengths_ ? read_lengths(inputs.back(), scratch) : nullptr;
    auto* layers = reinterpret_cast<float*>(scratch + lengths_bytes());
    const auto* x = static_cast<const float*>(inputs[0]);
    Distances from = distances(steps_, p_.input_size, p_.batch_first);
    for (int64_t layer = 0; layer < p_.num_layers; ++layer) {
      const bool is_last = layer + 1 == p_.num_layers;
      float* to = is_last ? static_cast<float*>(output) : layers + layer % 2 * (layer_bytes() / int64_t{sizeof(float)});
      run_layer(layer, x, from, inputs, lengths, to, static_cast<float*>(output));
      x = to;
      from = distances(steps_, width_, false);
    }
  }

 private:
  static Shape output_shape(const RecurrentPlan& p, std::span<const ValueInfo> inputs) {
    Shape shape = inputs[0].shape;
    if (inputs.size() > 1) shape[p.batch_first ? 1 : 0] += p.states * p.num_layers;
    shape[2] = p.directions * p.hidden_size;
    return shape;
  }

  int64_t lengths_bytes() const { return kernels::round_up(n_ * int64_t{sizeof(int64_t)}, 64); }
  int64_t layer_bytes() const { return kernels::round_up(steps_ * n_ * width_ * int64_t{sizeof(float)}, 64); }

  Distances distances(int64_t steps, int64_t width, bool batch_first) const {
    return batch_first ? Distances{width, steps * width} : Distances{n_ * width, width};
  }

  const int64_t* read_lengths(const void* given, uint8_t* scratch) const {
    auto* lengths = reinterpret_cast<int64_t*>(scratch);
    if (inputs_.back().dtype == DType::int64)
      std::copy_n(static_cast<const int64_t*>(given), n_, lengths);
    else
      std::copy_n(static_cast<const int32_t*>(given), n_, lengths);
    for (int64_t i = 0; i < n_; ++i)
      check<ValueError>(lengths[i] >= 0 && lengths[i] <= steps_, p_.type, ": a length is ", lengths[i],
                        ", expected 0 to ", steps_);
    return lengths;
  }

  void run_layer(int64_t layer, const float* x, Distances from, std::span<const void* const> inputs,
                 const int64_t* lengths, float* to, float* output) const {
    const bool is_last = layer + 1 == p_.num_layers, has_states = inputs.size() > 1;
    const Distances out = distances(steps_, width_, false);
    const Distances of_output = distances(output_steps(), width_, p_.batch_first);
    const auto state = [&](size_t i, int64_t row) -> const float* {
      if (!has_states) return nullptr;
      return static_cast<const float*>(inputs[i]) + row * inputs_[i].shape[1] * p_.hidden_size;
    };
    Task tasks[2];
    for (int64_t d = 0; d < p_.directions; ++d) {
      const int64_t row = layer * p_.directions + d, column = d * p_.hidden_size;
      const auto last = [&](int64_t i) {
        return output + (steps_ + i * p_.num_layers + layer) * of_output.step + column;
      };
      tasks[d] = {.weights = weights_[static_cast<size_t>(row)].get(),
                  .steps = steps_,
                  .n = n_,
                  .reverse = d == 1,
                  .x = x,
                  .x_step = from.step,
                  .x_row = from.row,
                  .lengths = lengths,
                  .h0 = state(1, row),
                  .c0 = p_.states == 2 ? state(2, row) : nullptr,
                  .h0_row = state_row(1),
                  .c0_row = p_.states == 2 ? state_row(2) : 0,
                  .out = to + column,
                  .out_step = is_last ? of_output.step : out.step,
                  .out_row = is_last ? of_output.row : out.row,
                  .h_n = has_states ? last(0) : nullptr,
                  .c_n = has_states && p_.states == 2 ? last(1) : nullptr,
                  .last_row = of_output.row};
    }
    kernels::run_recurrent<float>(std::span(tasks, static_cast<size_t>(p_.directions)));
  }

  // One row of states may be for all.
  int64_t state_row(size_t i) const { return i < inputs_.size() && inputs_[i].shape[1] > 1 ? p_.hidden_size : 0; }
  int64_t output_steps() const { return output().shape[p_.batch_first ? 1 : 0]; }

  RecurrentPlan p_;
  std::vector<ValueInfo> inputs_;
  int64_t steps_, n_, width_;
  bool has_lengths_;
  std::vector<std::shared_ptr<const Weights>> weights_;
};

bool is_state(const ValueInfo& info, const RecurrentPlan& p, int64_t n) {
  return info.dtype == DType::float32 && info.shape.ndim() == 3 && info.lies_as_usual() &&
         info.shape[0] == p.num_layers * p.directions && (info.shape[1] == n || info.shape[1] == 1) &&
         info.shape[2] == p.hidden_size;
}

}  // namespace

std::unique_ptr<InferenceStep> recurrent_step(RecurrentPlan plan, std::span<const ValueInfo> inputs) {
  const ValueInfo& x = inputs[0];
  const auto count = static_cast<int64_t>(inputs.size());
  if (x.dtype != DType::float32 || x.shape.ndim() != 3 || !x.lies_as_usual() || x.shape[2] != plan.input_size ||
      (count != 1 && count != 1 + plan.states && count != 2 + plan.states))
    return nullptr;
  const int64_t n = x.shape[plan.batch_first ? 0 : 1];
  for (int64_t i = 1; i < std::min(count, 1 + plan.states); ++i)
    if (!is_state(inputs[static_cast<size_t>(i)], plan, n)) return nullptr;
  if (count == 2 + plan.states) {
    const ValueInfo& lengths = inputs.back();
    const bool is_index = lengths.dtype == DType::int64 || lengths.dtype == DType::int32;
    if (!is_index || lengths.shape != Shape{n} || !lengths.lies_as_usual()) return nullptr;
  }
  for (const RecurrentLayer::Weights& w : plan.weights)
    for (const Tensor& t : {w.ih, w.hh, w.bias_ih, w.bias_hh})
      if (t.defined() && t.dtype() != DType::float32) return nullptr;
  return std::make_unique<RecurrentStep>(std::move(plan), inputs);
}

}  // namespace thimble::nn
