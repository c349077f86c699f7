// Steps of ops: what a graph does outside of its layers.
#include <thimble/core/ops/elementwise_op.h>
#include <thimble/nn/inference.h>

namespace thimble::nn {

namespace {

NDArray flat(const void* memory, const ValueInfo& info) {
  return NDArray::borrow(const_cast<void*>(memory), {info.shape.numel()}, info.dtype, nullptr);
}

// An elementwise op of one operand, or of two of the same shape: order in memory does not matter.
class ElementwiseStep : public InferenceStep {
 public:
  ElementwiseStep(std::unique_ptr<Op> op, const ValueInfo& info) : InferenceStep(info), op_(std::move(op)) {}

  void run(std::span<const void* const> inputs, void* out, uint8_t*) const override {
    const NDArray x = flat(inputs[0], output());
    NDArray y = flat(out, output());
    if (const auto* unary = dynamic_cast<const UnaryOp*>(op_.get()))
      unary->compute_into(x, y);
    else
      static_cast<const BinaryOp&>(*op_).compute_into(x, flat(inputs[1], output()), y);
  }

 private:
  std::unique_ptr<Op> op_;
};

class ViewStep : public InferenceStep {
 public:
  using InferenceStep::InferenceStep;
  bool is_view() const override { return true; }
  void run(std::span<const void* const>, void*, uint8_t*) const override {}
};

std::unique_ptr<InferenceStep> flatten_step(const Attributes& attributes, std::span<const ValueInfo> inputs) {
  const ValueInfo& x = inputs[0];
  const int ndim = x.shape.ndim();
  const auto start = attributes.get<int64_t>("start_dim"), end = attributes.get<int64_t>("end_dim");
  // All but the batch, into a row for each sample: the usual one.
  if (ndim < 2 || start != 1 || (end != -1 && end != ndim - 1) || x.shape[0] == 0) return nullptr;
  ValueInfo y{{x.shape[0], x.shape.numel() / x.shape[0]}, x.dtype, x.flattened_image};
  const bool order_matters = x.is_image() && x.shape[1] > 1 && x.shape[2] * x.shape[3] > 1;
  if (order_matters) y.flattened_image = {x.shape[1], x.shape[2], x.shape[3]};
  return std::make_unique<ViewStep>(y);
}

const StepRegistration flatten_registration("flatten", flatten_step);

}  // namespace

std::unique_ptr<InferenceStep> elementwise_step(std::unique_ptr<Op> op, std::span<const ValueInfo> inputs) {
  const bool unary = dynamic_cast<const UnaryOp*>(op.get()) != nullptr && inputs.size() == 1;
  const bool binary =
      dynamic_cast<const BinaryOp*>(op.get()) != nullptr && inputs.size() == 2 && inputs[0] == inputs[1];
  if ((!unary && !binary) || !is_differentiable(inputs[0].dtype)) return nullptr;
  return std::make_unique<ElementwiseStep>(std::move(op), inputs[0]);
}

}  // namespace thimble::nn
