#include <utility>

#include <thimble/core/op.h>
#include <thimble/nn/graph/recomputed.h>

namespace thimble::nn {

namespace {

class Recomputed final : public Op {
 public:
  Recomputed(NDArray value, std::function<Tensor()> again) : value_(std::move(value)), again_(std::move(again)) {}

  std::string_view name() const override { return "graph"; }
  InputCount num_inputs() const override { return {1, InputCount::kAny}; }
  NDArray compute(std::span<const NDArray>) override { return std::move(value_); }

  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    std::vector<Tensor> wanted;
    for (const Tensor& input : inputs) {
      input.data();  // throws if it was changed
      if (input.requires_grad()) wanted.push_back(input);
    }
    const std::vector<Tensor> found = gradients_of(wanted, out_grad);
    std::vector<Tensor> grads(inputs.size());
    for (size_t i = 0, next = 0; i < inputs.size(); ++i)
      if (inputs[i].requires_grad()) grads[i] = found[next++];
    return grads;
  }

 private:
  std::vector<Tensor> gradients_of(const std::vector<Tensor>& wanted, const Tensor& out_grad) const {
    std::vector<Tensor> grads(wanted.size());
    const Tensor y = recorded();
    if (y.requires_grad()) grads = grad(y, wanted, out_grad, {.create_graph = grad_enabled()});
    for (size_t i = 0; i < wanted.size(); ++i)  // those that the value does not depend on
      if (!grads[i].defined()) grads[i] = NDArray::zeros(wanted[i].shape(), wanted[i].dtype());
    return grads;
  }

  Tensor recorded() const {
    const GradMode mode(true);
    return again_();
  }

  NDArray value_;
  std::function<Tensor()> again_;
};

}  // namespace

Tensor recomputed_in_backward(const NDArray& value, std::vector<Tensor> inputs, std::function<Tensor()> again) {
  return thimble::apply(std::make_unique<Recomputed>(value, std::move(again)), std::move(inputs));
}

}  // namespace thimble::nn
