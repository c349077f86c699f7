#include <algorithm>
#include <utility>

#include <thimble/core/autocast.h>
#include <thimble/core/autograd.h>
#include <thimble/core/memory.h>
#include <thimble/core/profiled.h>
#include <thimble/core/small_array.h>
#include <thimble/core/tensor.h>

namespace thimble {

namespace {
thread_local bool recording = true;
thread_local ApplyListener* listener = nullptr;
}  // namespace

// A chain of nodes is freed with a loop: letting each destructor free the next would overflow the stack on a long one.
// The nodes themselves form the list of those that wait, for a destructor must do without new memory.
Tensor::Node::~Node() {
  Tensor orphans;
  const auto let_go = [&](Tensor& tensor) {
    Tensor last = std::move(tensor);
    if (last.node_.use_count() != 1) return;
    last.node_->next_orphan = std::move(orphans);
    orphans = std::move(last);
  };
  const auto let_go_of_all = [&](Node& node) {
    for (Tensor& input : node.inputs) let_go(input);
    let_go(node.grad);
  };
  let_go_of_all(*this);
  while (orphans.defined()) {
    const Tensor first = std::move(orphans);
    orphans = std::move(first.node_->next_orphan);
    let_go_of_all(*first.node_);
  }
}

Tensor::Tensor(NDArray data, bool requires_grad) : node_(std::make_shared<Node>()) {
  check<ValueError>(data.defined(), "tensor: the array is undefined");
  node_->data = std::move(data);
  set_requires_grad(requires_grad);
}

const NDArray& Tensor::array() const {
  check<ValueError>(defined(), "tensor: used before it was given a value");
  return node_->data;
}

const NDArray& Tensor::data() const {
  const NDArray& values = array();
  if (node_->listener) [[unlikely]]
    node_->listener->on_read(*this, false);
  return values;
}

NDArray& Tensor::mutable_data() const {
  data();
  if (node_->data.is_copy_on_write()) node_->data = node_->data.clone();
  node_->changed_at = node_->data.mark_changed();
  return node_->data;
}

void Tensor::set_data(NDArray data) const {
  check<ValueError>(data.defined(), "set_data: the array is undefined");
  check<ShapeError>(data.shape() == shape(), "set_data: shape ", data.shape(), " is not ", shape());
  check<DTypeError>(data.dtype() == dtype(), "set_data: dtype ", data.dtype(), " is not ", dtype());
  node_->data = std::move(data);
  node_->changed_at = next_change();
}

uint64_t Tensor::version() const { return std::max(array().changed_at(), node_->changed_at); }

void Tensor::set_read_listener(ReadListener* read_listener) const {
  array();
  node_->listener = read_listener;
}

bool Tensor::requires_grad() const { return node_ && node_->requires_grad; }

void Tensor::set_requires_grad(bool requires_grad) const {
  check<ValueError>(is_leaf(), "set_requires_grad: only a leaf's can be changed");
  check<DTypeError>(!requires_grad || is_differentiable(dtype()), "requires_grad: ", dtype(), " is not differentiable");
  node_->requires_grad = requires_grad;
}

bool Tensor::is_leaf() const { return !node_ || (!node_->op && !node_->freed); }

const Tensor& Tensor::grad() const {
  check<ValueError>(defined(), "tensor: used before it was given a value");
  return node_->grad;
}

void Tensor::set_grad(Tensor grad) const {
  check<ValueError>(defined(), "tensor: used before it was given a value");
  check<ShapeError>(!grad.defined() || grad.shape() == shape(), "set_grad: shape ",
                    grad.defined() ? grad.shape() : Shape(), " is not ", shape());
  check<DTypeError>(!grad.defined() || grad.dtype() == dtype(), "set_grad: dtype ",
                    grad.defined() ? grad.dtype() : dtype(), " is not ", dtype());
  node_->grad = std::move(grad);
  node_->grad_is_ours = false;
}

const Op* Tensor::op() const { return node_ ? node_->op.get() : nullptr; }

const std::vector<Tensor>& Tensor::inputs() const {
  check<ValueError>(defined(), "tensor: used before it was given a value");
  return node_->inputs;
}

Tensor apply(std::unique_ptr<Op> op, std::vector<Tensor> inputs) {
  check_num_inputs(*op, inputs.size());
  if (autocast_dtype() != DType::float32) [[unlikely]]
    inputs = autocast_inputs(op->autocast_rule(), std::move(inputs));
  SmallArray<NDArray, 4> arrays(inputs.size());  // the heap is only for concat and stack
  bool requires_grad = false;
  for (size_t i = 0; i < inputs.size(); ++i) {
    check<ValueError>(inputs[i].defined(), op->name(), ": input ", i, " is undefined");
    const Tensor::Node& node = *inputs[i].node_;
    if (node.listener) [[unlikely]]
      node.listener->on_read(inputs[i], true);
    arrays[i] = node.data;
    requires_grad = requires_grad || node.requires_grad;
  }
  const detail::Profiled profiled(*op, detail::Profiled::kCompute);
  Tensor output(op->compute(arrays));
  if (listener) listener->on_apply(*op, inputs, output);
  if (recording && requires_grad && carries_gradients(output.dtype())) {
    output.node_->requires_grad = true;
    output.node_->op = std::move(op);
    output.node_->inputs = std::move(inputs);
    output.node_->recorded_at = last_change();
  }
  return output;
}

ApplyListener* set_apply_listener(ApplyListener* next) { return std::exchange(listener, next); }

bool grad_enabled() { return recording; }

bool set_grad_enabled(bool enabled) { return std::exchange(recording, enabled); }

std::ostream& operator<<(std::ostream& out, const Tensor& tensor) {
  return tensor.defined() ? out << tensor.data() : out << "undefined";
}

}  // namespace thimble
