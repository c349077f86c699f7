#include <array>

#include <thimble/nn/graph/owns_graphs.h>
#include <thimble/nn/inference/fallback_steps.h>

namespace thimble::nn {

namespace {

// For the sake of the output's shape: what is known, else zeros without memory of their own.
std::vector<NDArray> zeros(std::span<const ValueInfo> infos) {
  std::vector<NDArray> arrays;
  for (const ValueInfo& info : infos)
    arrays.push_back(info.value.defined() ? info.value : NDArray::placeholder(info.shape, info.dtype));
  return arrays;
}

class FallbackStep : public InferenceStep {
 public:
  FallbackStep(ValueInfo output, NodeCall call, std::span<const ValueInfo> inputs, bool per_sample)
      : InferenceStep(std::move(output)),
        call_(std::move(call)),
        inputs_(inputs.begin(), inputs.end()),
        per_sample_(per_sample) {}

  bool is_per_sample() const override { return per_sample_; }

  void run(std::span<const void* const> inputs, void* output, uint8_t*) const override {
    std::vector<Tensor> arguments;
    for (size_t i = 0; i < inputs.size(); ++i) arguments.emplace_back(array_over(inputs[i], inputs_[i]));
    array_over(output, this->output()).copy_from(call_(arguments).data());
  }

 private:
  NodeCall call_;
  std::vector<ValueInfo> inputs_;
  bool per_sample_;
};

class OpStep : public InferenceStep {
 public:
  static constexpr size_t kMostInputs = 3;

  OpStep(ValueInfo output, std::string name, std::unique_ptr<const Op> op, std::span<const ValueInfo> inputs)
      : InferenceStep(std::move(output)),
        name_(std::move(name)),
        op_(std::move(op)),
        inputs_(inputs.begin(), inputs.end()),
        pointwise_(is_pointwise_op(op_->name(), inputs)),
        per_sample_(is_per_sample_op(op_->name(), op_->attributes(), inputs)) {}

  bool is_pointwise() const override { return pointwise_; }
  bool is_per_sample() const override { return per_sample_; }
  bool is_per_sample_with_constants() const override { return per_sample_ && pointwise_; }

  void run(std::span<const void* const> inputs, void* output, uint8_t*) const override {
    std::array<NDArray, kMostInputs> arguments;
    for (size_t i = 0; i < inputs.size(); ++i) arguments[i] = array_over(inputs[i], inputs_[i]);
    NDArray out = array_over(output, this->output());
    detail::named_in_errors(name_, [&] {
      check(op_->compute_into(std::span(arguments).first(inputs.size()), out), op_->name(),
            ": did not compute in place");
    });
  }

 private:
  std::string name_;
  std::unique_ptr<const Op> op_;
  std::vector<ValueInfo> inputs_;
  bool pointwise_, per_sample_;
};

class UsualOrderStep : public InferenceStep {
 public:
  explicit UsualOrderStep(const ValueInfo& input) : InferenceStep(input.as_usual()), input_(input) {}

  bool is_per_sample() const override { return !input_.is_constant; }

  void run(std::span<const void* const> inputs, void* output, uint8_t*) const override {
    if (input_.flattened_image.empty())
      return array_over(output, this->output()).copy_from(array_over(inputs[0], input_));
    const Shape& image = input_.flattened_image;
    const NDArray from = array_over(inputs[0], {{input_.shape[0], image[0], image[1], image[2]}, input_.dtype});
    NDArray::borrow(output, from.shape(), from.dtype(), nullptr).copy_from(from);
  }

 private:
  ValueInfo input_;
};

}  // namespace

std::unique_ptr<InferenceStep> fallback_step(const NodeCall& call, std::span<const ValueInfo> inputs) {
  check<ValueError>(call.layer() || !call.make_op()->has_data_dependent_shape(), "graph: the shape of '", call.name(),
                    "' depends on values");
  // A layer with graphs inside has a step unless its output's shape depends on which of them runs.
  check<ValueError>(!call.layer() || !dynamic_cast<const OwnsGraphs*>(call.layer().get()), "graph: what '", call.name(),
                    "' gives depends on values");
  const std::vector<NDArray> arrays = zeros(inputs);
  const Tensor y = call(std::vector<Tensor>(arrays.begin(), arrays.end()));
  const ValueInfo output{y.shape(), y.dtype()};
  if (call.layer()) return std::make_unique<FallbackStep>(output, call, inputs, call.layer()->is_per_sample());
  std::unique_ptr<const Op> op = call.make_op();
  NDArray memory({output.nbytes()}, DType::uint8), out = array_over(memory.raw(), output);
  if (inputs.size() <= OpStep::kMostInputs && op->compute_into(arrays, out))
    return std::make_unique<OpStep>(output, call.name(), std::move(op), inputs);
  return std::make_unique<FallbackStep>(output, call, inputs, is_per_sample_op(op->name(), op->attributes(), inputs));
}

std::unique_ptr<InferenceStep> usual_order_step(const ValueInfo& input) {
  return std::make_unique<UsualOrderStep>(input);
}

}  // namespace thimble::nn
