// Tensor: a node of the autograd graph, which remembers the op that made it and that op's inputs.
//
//   Tensor w(randn({3}, generator), /*requires_grad=*/true);
//   Tensor loss = sum(w * w);
//   loss.backward();                 // w.grad() is 2 w
#pragma once

#include <concepts>
#include <memory>
#include <ostream>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/core/ndarray.h>
#include <thimble/core/op.h>

namespace thimble {

/// What becomes of the graph in a backward pass.
struct THIMBLE_API BackwardOptions {
  /// Keep the graph, so that backward can run through it again.
  bool retain_graph = false;
  /// Record the gradients' own computation, so that they can be differentiated; implies retain_graph.
  bool create_graph = false;
};

/// A single axis where axes may be given: x.sum(1) is x.sum({1}).
template <typename I>
concept AxisNumber = std::integral<I> && !std::same_as<I, bool>;

/// A handle: copies name the same node, and a const one is a handle that stays with its node, whose values and
/// gradient may change. float32 and float64 tensors can require gradients.
class THIMBLE_API Tensor {
 public:
  /// Undefined: nothing but defined() may be asked of it.
  Tensor() = default;

  /// A leaf. Throws DTypeError if it shall require gradients and its dtype is not differentiable.
  Tensor(NDArray data, bool requires_grad = false);

  /// A 0-d tensor.
  static Tensor scalar(double value, DType dtype = DType::float32) { return NDArray::full({}, value, dtype); }

  bool defined() const { return node_ != nullptr; }
  const NDArray& data() const;
  /// The array itself, for optimizers and loaders; with memory of its own from now on if it shared that with a lazy
  /// clone (NDArray::lazy_clone(): a graph's copy). So it is to be called before each round of writes. What is recorded
  /// already and needs the values of before for its gradient refuses to go backward then: see backward().
  NDArray& mutable_data() const;
  /// Another one after each change: by set_data(), and by mutable_data(), NDArray::fill() or copy_from() of any tensor
  /// or array that shares the memory. What was derived from the values is out of date then.
  uint64_t version() const;
  /// Replaces the array by one of the same shape and dtype; throws ShapeError or DTypeError, ValueError for an
  /// undefined array.
  void set_data(NDArray data) const;

  const Shape& shape() const { return array().shape(); }
  /// Throws ShapeError for an axis that is not there.
  int64_t shape(int axis) const { return array().shape(axis); }
  int ndim() const { return array().ndim(); }
  int64_t numel() const { return array().numel(); }
  DType dtype() const { return array().dtype(); }
  template <typename T>
  T item() const {
    return data().item<T>();
  }

  bool requires_grad() const;
  /// Only for leaves; throws ValueError otherwise.
  void set_requires_grad(bool requires_grad) const;
  bool is_leaf() const;

  /// What backward() has added up for this leaf; undefined before.
  const Tensor& grad() const;
  /// Throws ShapeError or DTypeError if it does not fit.
  void set_grad(Tensor grad) const;

  /// Adds d(this)/d(leaf) to the grad of every leaf that requires it. Without `out_grad` this must have one element.
  /// Frees the graph unless told otherwise; a second pass through a freed graph throws ValueError, and so does an op
  /// whose gradient reads values that were changed since (by an optimizer's step, say), as in PyTorch.
  void backward(const BackwardOptions& options = {}) const { backward(Tensor(), options); }
  void backward(const Tensor& out_grad, const BackwardOptions& options = {}) const;

  // The ops of these names (core/ops) with this tensor as their first input: x.mean({0, 1}), x.sum(1), x.reshape({-1}).

  Tensor sum(const Shape& axes = {}, bool keepdim = false) const;
  Tensor mean(const Shape& axes = {}, bool keepdim = false) const;
  Tensor max(const Shape& axes = {}, bool keepdim = false) const;
  Tensor min(const Shape& axes = {}, bool keepdim = false) const;
  template <AxisNumber I>
  Tensor sum(I axis, bool keepdim = false) const {
    return sum(Shape{axis}, keepdim);
  }
  template <AxisNumber I>
  Tensor mean(I axis, bool keepdim = false) const {
    return mean(Shape{axis}, keepdim);
  }
  template <AxisNumber I>
  Tensor max(I axis, bool keepdim = false) const {
    return max(Shape{axis}, keepdim);
  }
  template <AxisNumber I>
  Tensor min(I axis, bool keepdim = false) const {
    return min(Shape{axis}, keepdim);
  }
  Tensor argmax(int64_t axis, bool keepdim = false) const;
  Tensor softmax(int64_t axis) const;
  Tensor reshape(const Shape& shape) const;
  Tensor flatten(int64_t start_dim = 0, int64_t end_dim = -1) const;
  Tensor transpose(int64_t axis0, int64_t axis1) const;
  Tensor permute(const Shape& axes) const;
  Tensor squeeze(int64_t axis) const;
  Tensor unsqueeze(int64_t axis) const;
  Tensor expand(const Shape& shape) const;  ///< broadcast_to()
  Tensor to(DType dtype) const;             ///< cast()
  Tensor matmul(const Tensor& other) const;
  Tensor abs() const;
  Tensor exp() const;
  Tensor log() const;
  Tensor sqrt() const;
  Tensor relu() const;
  Tensor sigmoid() const;
  Tensor tanh() const;

  /// The same array outside of the graph.
  Tensor detach() const { return data(); }

  /// The op that made it and that op's inputs; null and empty for a leaf.
  const Op* op() const;
  const std::vector<Tensor>& inputs() const;

  /// Names the node, for maps.
  const void* id() const { return node_.get(); }
  /// Whether no other handle names the node.
  bool is_unique() const { return node_.use_count() == 1; }

  /// Tells the listener (nullptr for none) of every read of this node's values.
  void set_read_listener(ReadListener* listener) const;

 private:
  const NDArray& array() const;  // for what is no value: shape and dtype

  struct Node;
  friend class Backward;
  friend Tensor apply(std::unique_ptr<Op> op, std::vector<Tensor> inputs);

  std::shared_ptr<Node> node_;
};

THIMBLE_API std::ostream& operator<<(std::ostream& out, const Tensor& tensor);

/// The gradients of `output` with respect to `inputs` (leaves or not), without touching any grad(). An input that
/// output does not depend on gets an undefined Tensor. `out_grad` as in Tensor::backward.
THIMBLE_API std::vector<Tensor> grad(const Tensor& output, const std::vector<Tensor>& inputs,
                                     const Tensor& out_grad = {}, const BackwardOptions& options = {});

/// Whether ops record their inputs on this thread.
THIMBLE_API bool grad_enabled();
/// Switches recording and returns what it was. NoGrad and no_grad() are the usual way.
THIMBLE_API bool set_grad_enabled(bool enabled);

/// Recording on or off while it lives.
class THIMBLE_API GradMode {
 public:
  explicit GradMode(bool enabled) : before_(set_grad_enabled(enabled)) {}
  ~GradMode() { set_grad_enabled(before_); }
  GradMode(const GradMode&) = delete;
  GradMode& operator=(const GradMode&) = delete;

 private:
  bool before_;
};

/// While it lives, ops on this thread record nothing.
class THIMBLE_API NoGrad : public GradMode {
 public:
  NoGrad() : GradMode(false) {}
};

/// Calls f with recording off.
template <typename F>
decltype(auto) no_grad(F&& f) {
  NoGrad guard;
  return f();
}

}  // namespace thimble
