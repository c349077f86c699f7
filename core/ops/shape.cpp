#include <algorithm>

#include <thimble/core/ops/reduce.h>
#include <thimble/core/ops/shape.h>
#include <thimble/core/ops/shape_attribute.h>

namespace thimble {

namespace {

class Reshape final : public Op {
 public:
  /// With zero_copies a size of 0 means the input's of that dimension, as in ONNX.
  explicit Reshape(const Shape& shape, bool zero_copies = false) : shape_(shape), zero_copies_(zero_copies) {}
  std::string_view name() const override { return "reshape"; }
  AutocastRule autocast_rule() const override { return AutocastRule::keep; }
  // As given, -1 included: a traced graph then works for other batch sizes.
  Attributes attributes() const override {
    Attributes a{{"shape", shape_.to_vector()}};
    if (zero_copies_) a.set("zero_copies", true);
    return a;
  }
  NDArray compute(std::span<const NDArray> inputs) override {
    Shape shape = shape_;
    for (int d = 0; zero_copies_ && d < shape.ndim(); ++d)
      if (shape[d] == 0) shape[d] = inputs[0].shape(d);
    return inputs[0].reshape(shape);
  }
  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    return {reshape(out_grad, inputs[0].shape())};
  }

 private:
  Shape shape_;
  bool zero_copies_;
};

class ShapeOf final : public Op {
 public:
  std::string_view name() const override { return "shape"; }
  NDArray compute(std::span<const NDArray> inputs) override {
    return NDArray::from_vector(inputs[0].shape().to_vector());
  }
  std::vector<Tensor> gradient(const Tensor&, std::span<const Tensor>, const Tensor&) override { return {{}}; }
};

class Transpose final : public Op {
 public:
  Transpose(int64_t axis0, int64_t axis1) : axis0_(axis0), axis1_(axis1) {}
  std::string_view name() const override { return "transpose"; }
  AutocastRule autocast_rule() const override { return AutocastRule::keep; }
  Attributes attributes() const override { return {{"axis0", axis0_}, {"axis1", axis1_}}; }
  NDArray compute(std::span<const NDArray> inputs) override {
    const int ndim = inputs[0].ndim();
    return inputs[0].transpose(normalize_axis(axis0_, ndim, "transpose"), normalize_axis(axis1_, ndim, "transpose"));
  }
  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor>, const Tensor&) override {
    return {transpose(out_grad, axis0_, axis1_)};
  }

 private:
  int64_t axis0_, axis1_;
};

class Permute final : public Op {
 public:
  explicit Permute(const Shape& axes) : axes_(axes) {}
  std::string_view name() const override { return "permute"; }
  AutocastRule autocast_rule() const override { return AutocastRule::keep; }
  Attributes attributes() const override { return {{"axes", axes_.to_vector()}}; }
  NDArray compute(std::span<const NDArray> inputs) override { return inputs[0].permute(axes_); }
  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor>, const Tensor&) override {
    Shape inverse = axes_;
    for (int i = 0; i < axes_.ndim(); ++i) inverse[normalize_axis(axes_[i], axes_.ndim(), "permute")] = i;
    return {permute(out_grad, inverse)};
  }

 private:
  Shape axes_;
};

/// start:stop:step along an axis. With clip_start a start before the beginning is the beginning, for steps below 0,
/// too, as in ONNX; NumPy's slice would be empty then.
struct SliceRange {
  int64_t axis, start, stop, step;
  bool clip_start = false;

  static SliceRange from(const Attributes& a) {
    return {a.get<int64_t>("axis"), a.get<int64_t>("start"), a.get<int64_t>("stop"), a.get<int64_t>("step"),
            a.get("clip_start", false)};
  }
  Attributes attributes() const {
    Attributes a{{"axis", axis}, {"start", start}, {"stop", stop}, {"step", step}};
    if (clip_start) a.set("clip_start", true);
    return a;
  }
  NDArray of(const NDArray& x, const char* op) const {
    const int own = normalize_axis(axis, x.ndim(), op);
    return x.slice(own, clip_start ? std::max(start, -x.shape(own)) : start, stop, step);
  }
};

/// The transpose of slicing: the elements in their places in an array of zeros.
class SliceBackward final : public Op {
 public:
  SliceBackward(const SliceRange& range, const Shape& shape) : range_(range), shape_(shape) {}
  std::string_view name() const override { return "slice_backward"; }
  AutocastRule autocast_rule() const override { return AutocastRule::keep; }
  Attributes attributes() const override {
    Attributes a = range_.attributes();
    a.set("shape", shape_.to_vector());
    return a;
  }
  NDArray compute(std::span<const NDArray> inputs) override {
    const DType dtype = inputs[0].dtype();
    const Shape expected = range_.of(NDArray::placeholder(shape_, dtype), "slice_backward").shape();
    check<ShapeError>(expected == inputs[0].shape(), "slice_backward: gradient ", inputs[0].shape(), " is not ",
                      expected);
    NDArray out = NDArray::zeros(shape_, dtype), part = range_.of(out, "slice_backward");
    part.copy_from(inputs[0]);
    return out;
  }
  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor>, const Tensor&) override {
    return {apply(make_op("slice", range_.attributes()), {out_grad})};
  }

 private:
  SliceRange range_;
  Shape shape_;
};

class Slice final : public Op {
 public:
  explicit Slice(const SliceRange& range) : range_(range) {}
  std::string_view name() const override { return "slice"; }
  AutocastRule autocast_rule() const override { return AutocastRule::keep; }
  Attributes attributes() const override { return range_.attributes(); }
  NDArray compute(std::span<const NDArray> inputs) override { return range_.of(inputs[0], "slice"); }
  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    return {apply(std::make_unique<SliceBackward>(range_, inputs[0].shape()), {out_grad})};
  }

 private:
  SliceRange range_;
};

class Concat final : public Op {
 public:
  explicit Concat(int64_t axis) : axis_(axis) {}
  std::string_view name() const override { return "concat"; }
  AutocastRule autocast_rule() const override { return AutocastRule::widest; }
  InputCount num_inputs() const override { return {1, InputCount::kAny}; }
  Attributes attributes() const override { return {{"axis", axis_}}; }
  NDArray compute(std::span<const NDArray> inputs) override {
    check<ShapeError>(!inputs.empty(), "concat: expects at least one tensor");
    const NDArray& first = inputs[0];
    const int axis = normalize_axis(axis_, first.ndim(), "concat");
    Shape shape = first.shape();
    for (size_t i = 1; i < inputs.size(); ++i) {
      Shape expected = first.shape();
      check<DTypeError>(inputs[i].dtype() == first.dtype(), "concat: tensor ", i, " is ", inputs[i].dtype(),
                        ", tensor 0 is ", first.dtype());
      if (inputs[i].ndim() == first.ndim()) expected[axis] = inputs[i].shape(axis);
      check<ShapeError>(inputs[i].shape() == expected, "concat: tensor ", i, " of shape ", inputs[i].shape(),
                        " does not fit ", first.shape(), " along axis ", axis_);
      check<ShapeError>(!__builtin_add_overflow(shape[axis], inputs[i].shape(axis), &shape[axis]),
                        "concat: the result along axis ", axis_, " is too large");
    }
    NDArray out(shape, first.dtype());
    int64_t at = 0;
    for (const NDArray& input : inputs) {
      const int64_t end = at + input.shape(axis);
      out.slice(axis, at, end).copy_from(input);
      at = end;
    }
    return out;
  }
  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    std::vector<Tensor> grads(inputs.size());
    const int axis = normalize_axis(axis_, out_grad.ndim(), "concat");
    int64_t at = 0;
    for (size_t i = 0; i < inputs.size(); ++i) {
      const int64_t end = at + inputs[i].shape(axis);
      if (inputs[i].requires_grad()) grads[i] = slice(out_grad, axis, at, end);
      at = end;
    }
    return grads;
  }

 private:
  int64_t axis_;
};

class Stack final : public Op {
 public:
  explicit Stack(int64_t axis) : axis_(axis) {}
  std::string_view name() const override { return "stack"; }
  AutocastRule autocast_rule() const override { return AutocastRule::widest; }
  InputCount num_inputs() const override { return {1, InputCount::kAny}; }
  Attributes attributes() const override { return {{"axis", axis_}}; }
  NDArray compute(std::span<const NDArray> inputs) override {
    check<ShapeError>(!inputs.empty(), "stack: expects at least one tensor");
    const NDArray& first = inputs[0];
    for (size_t i = 1; i < inputs.size(); ++i) {
      check<DTypeError>(inputs[i].dtype() == first.dtype(), "stack: tensor ", i, " is ", inputs[i].dtype(),
                        ", tensor 0 is ", first.dtype());
      check<ShapeError>(inputs[i].shape() == first.shape(), "stack: tensor ", i, " of shape ", inputs[i].shape(),
                        " is not of tensor 0's shape ", first.shape());
    }
    const int axis = normalize_axis(axis_, first.ndim() + 1, "stack");
    Shape shape = first.shape();
    shape.insert(axis, static_cast<int64_t>(inputs.size()));
    NDArray out(shape, first.dtype());
    for (size_t i = 0; i < inputs.size(); ++i) {
      const auto at = static_cast<int64_t>(i);
      out.slice(axis, at, at + 1).copy_from(inputs[i].unsqueeze(axis));
    }
    return out;
  }
  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    std::vector<Tensor> grads(inputs.size());
    for (size_t i = 0; i < inputs.size(); ++i) {
      const auto at = static_cast<int64_t>(i);
      if (inputs[i].requires_grad()) grads[i] = squeeze(slice(out_grad, axis_, at, at + 1), axis_);
    }
    return grads;
  }

 private:
  int64_t axis_;
};

class BroadcastTo final : public Op {
 public:
  /// With both_ways x's own sizes and dimensions stay where the shape has 1, or none, as in ONNX's Expand.
  explicit BroadcastTo(const Shape& shape, bool both_ways = false) : shape_(shape), both_ways_(both_ways) {}
  std::string_view name() const override { return "broadcast_to"; }
  AutocastRule autocast_rule() const override { return AutocastRule::keep; }
  Attributes attributes() const override {
    Attributes a{{"shape", shape_.to_vector()}};
    if (both_ways_) a.set("both_ways", true);
    return a;
  }
  NDArray compute(std::span<const NDArray> inputs) override {
    const NDArray& x = inputs[0];
    if (both_ways_) return x.broadcast_to(broadcast_shapes(x.shape(), shape_, "broadcast_to"));
    Shape shape = shape_;
    const int extra = shape.ndim() - x.ndim();
    for (int i = std::max(extra, 0); i < shape.ndim(); ++i)
      if (shape[i] == -1) shape[i] = x.shape(i - extra);
    return x.broadcast_to(shape);
  }
  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    return {sum_to(out_grad, inputs[0].shape())};
  }

 private:
  Shape shape_;
  bool both_ways_;
};

/// Of one axis, the attribute "axis", or of a list, "axes".
class AxesOp : public Op {
 public:
  explicit AxesOp(const Attributes& a)
      : is_list_(!a.contains("axis")), axes_(is_list_ ? shape_attribute(a, "axes") : Shape{a.get<int64_t>("axis")}) {}
  AutocastRule autocast_rule() const override { return AutocastRule::keep; }
  Attributes attributes() const override {
    return is_list_ ? Attributes{{"axes", axes_.to_vector()}} : Attributes{{"axis", axes_[0]}};
  }
  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    return {reshape(out_grad, inputs[0].shape())};
  }

 protected:
  int count() const { return axes_.ndim(); }
  // From 0 on and sorted.
  Shape axes_of(int ndim, const char* op) const { return axes_.empty() ? Shape{} : normalize_axes(axes_, ndim, op); }

 private:
  bool is_list_;
  Shape axes_;
};

/// An empty list means every axis of size 1.
class Squeeze final : public AxesOp {
 public:
  using AxesOp::AxesOp;
  std::string_view name() const override { return "squeeze"; }
  NDArray compute(std::span<const NDArray> inputs) override {
    NDArray x = inputs[0];
    const Shape axes = axes_of(x.ndim(), "squeeze");
    for (int d = x.ndim() - 1; d >= 0; --d) {
      const bool is_named = std::find(axes.begin(), axes.end(), d) != axes.end();
      if (is_named || (axes.empty() && x.shape(d) == 1)) x = x.squeeze(d);
    }
    return x;
  }
};

class Unsqueeze final : public AxesOp {
 public:
  using AxesOp::AxesOp;
  std::string_view name() const override { return "unsqueeze"; }
  NDArray compute(std::span<const NDArray> inputs) override {
    NDArray x = inputs[0];
    for (const int64_t axis : axes_of(x.ndim() + count(), "unsqueeze")) x = x.unsqueeze(static_cast<int>(axis));
    return x;
  }
};

class Flatten final : public Op {
 public:
  Flatten(int64_t start_dim, int64_t end_dim) : start_dim_(start_dim), end_dim_(end_dim) {}
  std::string_view name() const override { return "flatten"; }
  AutocastRule autocast_rule() const override { return AutocastRule::keep; }
  Attributes attributes() const override { return {{"start_dim", start_dim_}, {"end_dim", end_dim_}}; }
  NDArray compute(std::span<const NDArray> inputs) override {
    const NDArray& x = inputs[0];
    const int ndim = std::max(x.ndim(), 1);  // a scalar becomes [1], as in PyTorch
    const int start = normalize_axis(start_dim_, ndim, "flatten"), end = normalize_axis(end_dim_, ndim, "flatten");
    check<ShapeError>(start <= end, "flatten: start_dim ", start_dim_, " comes after end_dim ", end_dim_, " in shape ",
                      x.shape());
    Shape shape;
    int64_t merged = 1;
    for (int i = 0; i < x.ndim(); ++i) {
      if (i == start) shape.push_back(1);
      if (i < start || i > end)
        shape.push_back(x.shape(i));
      else
        shape[start] = merged *= x.shape(i);
    }
    return x.reshape(x.ndim() == 0 ? Shape{1} : shape);
  }
  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    return {reshape(out_grad, inputs[0].shape())};
  }

 private:
  int64_t start_dim_, end_dim_;
};

template <typename AxisOp>
std::unique_ptr<Op> make_axis_op(const Attributes& a) {
  return std::make_unique<AxisOp>(a.get<int64_t>("axis"));
}

const OpRegistration shape_registrations[] = {
    {"reshape",
     [](const Attributes& a) {
       return std::make_unique<Reshape>(shape_attribute(a, "shape"), a.get("zero_copies", false));
     }},
    {"shape", [](const Attributes&) { return std::make_unique<ShapeOf>(); }},
    {"transpose",
     [](const Attributes& a) { return std::make_unique<Transpose>(a.get<int64_t>("axis0"), a.get<int64_t>("axis1")); }},
    {"permute", [](const Attributes& a) { return std::make_unique<Permute>(shape_attribute(a, "axes")); }},
    {"slice", [](const Attributes& a) { return std::make_unique<Slice>(SliceRange::from(a)); }},
    {"slice_backward",
     [](const Attributes& a) {
       return std::make_unique<SliceBackward>(SliceRange::from(a), shape_attribute(a, "shape"));
     }},
    {"concat", make_axis_op<Concat>},
    {"stack", make_axis_op<Stack>},
    {"broadcast_to",
     [](const Attributes& a) {
       return std::make_unique<BroadcastTo>(shape_attribute(a, "shape"), a.get("both_ways", false));
     }},
    {"squeeze", [](const Attributes& a) { return std::make_unique<Squeeze>(a); }},
    {"unsqueeze", [](const Attributes& a) { return std::make_unique<Unsqueeze>(a); }},
    {"flatten",
     [](const Attributes& a) {
       return std::make_unique<Flatten>(a.get<int64_t>("start_dim"), a.get<int64_t>("end_dim"));
     }},
};

}  // namespace

Tensor reshape(const Tensor& x, const Shape& shape) { return apply(std::make_unique<Reshape>(shape), {x}); }

Tensor unflatten(const Tensor& x, int64_t axis, const Shape& sizes) {
  const int at = normalize_axis(axis, x.ndim(), "unflatten");
  const int64_t size = x.shape(at);
  int64_t known = 1, free = 0;
  bool is_known = !sizes.empty();
  for (const int64_t s : sizes)
    if (s == -1)
      ++free;
    else
      is_known = is_known && s >= 0 && !__builtin_mul_overflow(known, s, &known);
  check<ShapeError>(is_known && free <= 1 && (free == 0 ? known == size : known > 0 && size % known == 0),
                    "unflatten: dimension ", axis, " of ", x.shape(), " does not divide into ", sizes);
  // Sizes that are left open are so in a traced graph, too; of nothing, all are said.
  const bool is_empty = x.numel() == 0;
  Shape shape;
  for (int d = 0; d < at; ++d) shape.push_back(is_empty ? x.shape(d) : 0);
  for (const int64_t s : sizes) shape.push_back(s == -1 && is_empty ? size / known : s);
  for (int d = at + 1; d < x.ndim(); ++d) shape.push_back(x.shape(d));
  return apply(std::make_unique<Reshape>(shape, /*zero_copies=*/!is_empty && at > 0), {x});
}

Tensor shape_of(const Tensor& x) { return apply(std::make_unique<ShapeOf>(), {x}); }

Tensor transpose(const Tensor& x, int64_t axis0, int64_t axis1) {
  return apply(std::make_unique<Transpose>(axis0, axis1), {x});
}

Tensor permute(const Tensor& x, const Shape& axes) { return apply(std::make_unique<Permute>(axes), {x}); }

Tensor slice(const Tensor& x, int64_t axis, int64_t start, int64_t stop, int64_t step) {
  return apply(std::make_unique<Slice>(SliceRange{axis, start, stop, step}), {x});
}

// std::apply would be found as well.
Tensor concat(const std::vector<Tensor>& tensors, int64_t axis) {
  return thimble::apply(std::make_unique<Concat>(axis), tensors);
}

Tensor stack(const std::vector<Tensor>& tensors, int64_t axis) {
  return thimble::apply(std::make_unique<Stack>(axis), tensors);
}

Tensor broadcast_to(const Tensor& x, const Shape& shape) { return apply(std::make_unique<BroadcastTo>(shape), {x}); }

Tensor squeeze(const Tensor& x, int64_t axis) {
  return apply(std::make_unique<Squeeze>(Attributes{{"axis", axis}}), {x});
}

Tensor squeeze(const Tensor& x) {
  return apply(std::make_unique<Squeeze>(Attributes{{"axes", std::vector<int64_t>{}}}), {x});
}

Tensor unsqueeze(const Tensor& x, int64_t axis) {
  return apply(std::make_unique<Unsqueeze>(Attributes{{"axis", axis}}), {x});
}

Tensor flatten(const Tensor& x, int64_t start_dim, int64_t end_dim) {
  return apply(std::make_unique<Flatten>(start_dim, end_dim), {x});
}

}  // namespace thimble
