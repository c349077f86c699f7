#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include <thimble/core/autocast.h>
#include <thimble/core/autograd.h>
#include <thimble/core/kernels/elementwise/elementwise.h>
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/profiled.h>

namespace thimble {

/// One backward pass: walks the nodes from the output in reverse topological order, adding up gradients.
class Backward {
 public:
  Backward(const Tensor& output, const Tensor& out_grad, const BackwardOptions& options) : options_(options) {
    check<ValueError>(output.defined(), "backward: the tensor is undefined");
    check<ValueError>(output.requires_grad(), "backward: the tensor does not require gradients");
    check<ValueError>(!output.node_->freed, kFreed);
    check<ShapeError>(out_grad.defined() || output.numel() == 1, "backward: a tensor of shape ", output.shape(),
                      " needs an out_grad; only one of one element does without");
    check<ShapeError>(!out_grad.defined() || out_grad.shape() == output.shape(), "backward: out_grad of shape ",
                      out_grad.defined() ? out_grad.shape() : Shape(), " does not fit ", output.shape());
    check<DTypeError>(!out_grad.defined() || out_grad.dtype() == output.dtype(), "backward: out_grad is ",
                      out_grad.defined() ? out_grad.dtype() : output.dtype(), ", the tensor ", output.dtype());
    order_from(output.node_);
    out_grad_ = out_grad.defined() ? out_grad : Tensor(NDArray::ones(output.shape(), output.dtype()));
    grads_[output.node_.get()] = out_grad_;
  }

  /// Calls at(node, gradient) for each node that has one, from the output towards the leaves.
  template <typename AtNode>
  void run(AtNode&& at) {
    const GradMode mode(options_.create_graph);
    const Autocast as_they_are(DType::float32);  // gradients have the dtypes that the forward pass decided on
    // As inside layers, a tracer must not see what backward computes.
    ListenerScope silence;
    for (auto it = order_.rbegin(); it != order_.rend(); ++it) {
      const std::shared_ptr<Tensor::Node>& node = *it;
      const auto found = grads_.find(node.get());
      if (found == grads_.end()) continue;
      Tensor gradient = std::move(found->second);
      grads_.erase(found);
      at(*node, gradient);
      if (node->op) propagate(node, gradient);
    }
  }

  /// Whether nobody else can see the values of a gradient that nothing is recorded about.
  static bool is_owned_alone(const Tensor& gradient) {
    const Tensor::Node& node = *gradient.node_;
    return gradient.node_.use_count() == 1 && !node.op && node.data.is_sole_owner() && node.data.is_dense();
  }

  /// sum += term; where sum's values lie, if that is nobody else's business.
  void add(Tensor& sum, const Tensor& term) const {
    if (options_.create_graph || !is_owned_alone(sum)) {
      sum = sum + term;
      return;
    }
    NDArray& values = sum.mutable_data();
    kernels::binary(kernels::Binary::add, values, term.data(), values);
  }

 private:
  static constexpr const char* kFreed =
      "backward: the graph was freed by an earlier backward; pass retain_graph to that one";

  struct ListenerScope {
    ApplyListener* before = set_apply_listener(nullptr);
    ~ListenerScope() { set_apply_listener(before); }
  };

  // Stands in for values that are no longer what an op saw: shape and dtype may be asked for, a read is an error.
  class ChangedValues : public ReadListener {
   public:
    ChangedValues(const Op& op, std::span<const Tensor> inputs) : op_(op), inputs_(inputs) {}

    Tensor stand_in(const Tensor& changed) {
      Tensor tensor(changed.node_->data);
      tensor.node_->requires_grad = changed.node_->requires_grad;
      tensor.node_->listener = this;
      return tensor;
    }

    void on_read(const Tensor& tensor, bool) override {
      const auto it = std::ranges::find(inputs_, tensor.id(), &Tensor::id);
      const std::string which = it == inputs_.end() ? "output" : str("input ", it - inputs_.begin());
      throw ValueError(str(op_.name(), ": its gradient needs its ", which, " (", tensor.dtype(), tensor.shape(),
                           "), which was changed after the op was applied, by an optimizer's step, load_state, ",
                           "set_data or mutable_data; call backward() before that, or compute the output again"));
    }

   private:
    const Op& op_;
    std::span<const Tensor> inputs_;
  };

  static std::vector<Tensor> input_gradients(const std::shared_ptr<Tensor::Node>& node, const Tensor& gradient) {
    Tensor output;
    output.node_ = node;
    const auto is_changed = [&](const Tensor& t) { return t.version() > node->recorded_at; };
    if (!is_changed(output) && std::ranges::none_of(node->inputs, is_changed)) [[likely]]
      return node->op->gradient(gradient, node->inputs, output);
    std::vector<Tensor> inputs = node->inputs;
    ChangedValues changed(*node->op, inputs);
    for (Tensor& input : inputs)
      if (is_changed(input)) input = changed.stand_in(input);
    if (is_changed(output)) output = changed.stand_in(output);
    std::vector<Tensor> grads = node->op->gradient(gradient, inputs, output);
    for (const Tensor& grad : grads)
      if (grad.defined()) grad.data();  // to hand a stand-in on is to read it
    return grads;
  }

  void propagate(const std::shared_ptr<Tensor::Node>& node, const Tensor& gradient) {
    std::vector<Tensor> input_grads = [&] {
      const detail::Profiled profiled(*node->op, detail::Profiled::kBackward);
      return input_gradients(node, gradient);
    }();
    for (size_t i = 0; i < node->inputs.size(); ++i) {
      const Tensor& input = node->inputs[i];
      if (!input.requires_grad()) continue;
      check<ValueError>(i < input_grads.size() && input_grads[i].defined(), node->op->name(),
                        ": has no gradient for its input ", i);
      check<ShapeError>(input_grads[i].shape() == input.shape(), node->op->name(), ": gradient of input ", i,
                        " has shape ", input_grads[i].shape(), ", the input ", input.shape());
      check<DTypeError>(input_grads[i].dtype() == input.dtype(), node->op->name(), ": gradient of input ", i, " is ",
                        input_grads[i].dtype(), ", the input ", input.dtype());
      Tensor& sum = grads_[input.node_.get()];
      if (!sum.defined()) {
        sum = std::move(input_grads[i]);
        continue;
      }
      if (!is_owned_alone(sum)) std::swap(sum, input_grads[i]);  // the other one may be
      add(sum, input_grads[i]);
    }
    if (!options_.retain_graph && !options_.create_graph) {
      node->op.reset();
      node->inputs.clear();
      node->freed = true;
    }
  }

  // Depth-first without recursion: a network can be deeper than the stack.
  void order_from(const std::shared_ptr<Tensor::Node>& root) {
    std::unordered_set<const Tensor::Node*> seen{root.get()};
    std::vector<std::pair<std::shared_ptr<Tensor::Node>, size_t>> path{{root, 0}};
    while (!path.empty()) {
      auto& [node, next] = path.back();
      if (next == node->inputs.size()) {
        order_.push_back(node);
        path.pop_back();
        continue;
      }
      const std::shared_ptr<Tensor::Node>& input = node->inputs[next++].node_;
      if (!input->requires_grad || !seen.insert(input.get()).second) continue;
      check<ValueError>(!input->freed, kFreed);
      path.emplace_back(input, 0);
    }
  }

  BackwardOptions options_;
  Tensor out_grad_;  // the caller's memory is not added to: as long as it is held here, nobody owns it alone
  std::vector<std::shared_ptr<Tensor::Node>> order_;
  std::unordered_map<const Tensor::Node*, Tensor> grads_;
};

void Tensor::backward(const Tensor& out_grad, const BackwardOptions& options) const {
  Backward pass(*this, out_grad, options);
  pass.run([&](Node& node, Tensor& gradient) {
    if (node.op || node.freed) return;
    // A leaf's gradient is its own: an addition hands one gradient to both sides, and a sum's is a broadcast view.
    const bool own =
        gradient.node_.use_count() == 1 && gradient.data().is_sole_owner() && gradient.data().is_contiguous();
    if (node.grad.defined() && node.grad_is_ours)
      pass.add(node.grad, gradient);
    else if (node.grad.defined())
      node.grad = node.grad + gradient;
    else if (own)
      node.grad = std::move(gradient);
    else
      node.grad = options.create_graph ? gradient * 1.0 : Tensor(gradient.data().clone());
    node.grad_is_ours = true;
  });
}

std::vector<Tensor> grad(const Tensor& output, const std::vector<Tensor>& inputs, const Tensor& out_grad,
                         const BackwardOptions& options) {
  std::vector<Tensor> result(inputs.size());
  std::unordered_map<const void*, std::vector<size_t>> wanted;
  for (size_t i = 0; i < inputs.size(); ++i) wanted[inputs[i].id()].push_back(i);
  Backward(output, out_grad, options).run([&](auto& node, Tensor& gradient) {
    const auto found = wanted.find(&node);
    if (found == wanted.end()) return;
    for (size_t i : found->second) result[i] = gradient;
  });
  return result;
}

}  // namespace thimble
