#include <thimble/core/autocast.h>
#include <thimble/core/ops/composed_op.h>
#include <thimble/core/ops/shape.h>

namespace thimble {

namespace {

struct Unheard {
  ApplyListener* before = set_apply_listener(nullptr);
  ~Unheard() { set_apply_listener(before); }
};

}  // namespace

NDArray ComposedOp::compute(std::span<const NDArray> inputs) {
  const NoGrad guard;
  const Autocast in_full(DType::float32);
  const Unheard unheard;
  return formula(std::vector<Tensor>(inputs.begin(), inputs.end())).data();
}

std::vector<Tensor> ComposedOp::gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) {
  const bool again = grad_enabled();  // the gradient will be differentiated, with what the inputs come from
  std::vector<Tensor> own, wanted;
  for (const Tensor& input : inputs) {
    // A node of its own, too, for one that is given twice, or that others are made of: what the formula does with those
    // is not its gradient.
    own.push_back(again ? reshape(input, input.shape()) : Tensor(input.data(), input.requires_grad()));
    if (input.requires_grad()) wanted.push_back(own.back());
  }
  std::vector<Tensor> found(wanted.size());
  {
    const GradMode recording(true);
    const Tensor y = formula(own);
    if (y.requires_grad()) found = grad(y, wanted, out_grad, {.create_graph = again});
  }
  std::vector<Tensor> grads(inputs.size());
  for (size_t i = 0, next = 0; i < inputs.size(); ++i) {
    if (!inputs[i].requires_grad()) continue;
    grads[i] = found[next++];
    if (!grads[i].defined()) grads[i] = NDArray::zeros(inputs[i].shape(), inputs[i].dtype());
  }
  return grads;
}

}  // namespace thimble
