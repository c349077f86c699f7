#include <utility>

#include <thimble/core/kernels/elementwise/indexing.h>
#include <thimble/core/ops/checked_index.h>
#include <thimble/core/ops/embedding_bag.h>
#include <thimble/core/ops/indexing.h>
#include <thimble/core/ops/shape.h>
#include <thimble/core/ops/shape_attribute.h>

namespace thimble {

NDArray checked_index(const NDArray& index, int64_t size, const char* op, bool wrap) {
  check<DTypeError>(index.dtype() == DType::int64 || index.dtype() == DType::int32, op,
                    ": index must be int64 or int32, got ", index.dtype());
  NDArray checked = index.to(DType::int64).contiguous();
  const int64_t *values = std::as_const(checked).data<int64_t>(), low = wrap ? -size : 0;
  bool has_negative = false;
  for (int64_t i = 0; i < checked.numel(); ++i) {
    check<ValueError>(values[i] >= low && values[i] < size, op, ": index ", values[i], " (entry ", i,
                      ") is out of range for size ", size);
    has_negative = has_negative || values[i] < 0;
  }
  if (!has_negative) return checked;
  if (checked.shares_memory_with(index)) checked = checked.clone();
  int64_t* entries = checked.data<int64_t>();
  for (int64_t i = 0; i < checked.numel(); ++i) entries[i] += entries[i] < 0 ? size : 0;
  return checked;
}

namespace {

// Attributes of ops that may take negative indices.
Attributes with_wrap(Attributes attributes, bool wrap) {
  if (wrap) attributes.set("wrap", true);
  return attributes;
}

/// The transpose of gather: adds each element of grad [index shape] to its place in zeros of `shape`.
class GatherBackward final : public Op {
 public:
  GatherBackward(int64_t axis, const Shape& shape, bool wrap) : axis_(axis), shape_(shape), wrap_(wrap) {}
  std::string_view name() const override { return "gather_backward"; }
  InputCount num_inputs() const override { return {2, 2}; }
  Attributes attributes() const override { return with_wrap({{"axis", axis_}, {"shape", shape_.to_vector()}}, wrap_); }
  NDArray compute(std::span<const NDArray> inputs) override {
    const NDArray &grad = inputs[0], &index = inputs[1];
    const int axis = normalize_axis(axis_, shape_.ndim(), "gather_backward");
    check_gather_shapes(shape_, axis, index.shape(), name());
    check<ShapeError>(grad.shape() == index.shape(), "gather_backward: gradient ", grad.shape(), " is not of index's ",
                      index.shape());
    const NDArray places = checked_index(index, shape_[axis], "gather_backward", wrap_);
    NDArray out = NDArray::zeros(shape_, grad.dtype());
    kernels::scatter_add(grad, axis, places, out);
    return out;
  }
  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    return {gather(out_grad, axis_, inputs[1], wrap_), {}};
  }

  static void check_gather_shapes(const Shape& x, int axis, const Shape& index, std::string_view op) {
    bool fits = x.ndim() == index.ndim();
    for (int d = 0; fits && d < x.ndim(); ++d) fits = d == axis || index[d] <= x[d];
    check<ShapeError>(fits, op, ": index ", index, " does not fit ", x,
                      ", expected as many dimensions and none larger but axis ", axis);
  }

 private:
  int64_t axis_;
  Shape shape_;
  bool wrap_;
};

class Gather final : public Op {
 public:
  Gather(int64_t axis, bool wrap) : axis_(axis), wrap_(wrap) {}
  std::string_view name() const override { return "gather"; }
  InputCount num_inputs() const override { return {2, 2}; }
  Attributes attributes() const override { return with_wrap({{"axis", axis_}}, wrap_); }
  NDArray compute(std::span<const NDArray> inputs) override {
    const NDArray &x = inputs[0], &index = inputs[1];
    const int axis = normalize_axis(axis_, x.ndim(), "gather");
    GatherBackward::check_gather_shapes(x.shape(), axis, index.shape(), name());
    NDArray out(index.shape(), x.dtype());
    kernels::gather(x, axis, checked_index(index, x.shape(axis), "gather", wrap_), out);
    return out;
  }
  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    return {apply(std::make_unique<GatherBackward>(axis_, inputs[0].shape(), wrap_), {out_grad, inputs[1]}), {}};
  }

 private:
  int64_t axis_;
  bool wrap_;
};

/// The transpose of index_select: adds slice i of grad to slice index[i] of zeros, which have `size` slices.
class IndexSelectBackward final : public Op {
 public:
  IndexSelectBackward(int64_t axis, int64_t size, bool wrap = false) : axis_(axis), size_(size), wrap_(wrap) {}
  std::string_view name() const override { return "index_select_backward"; }
  InputCount num_inputs() const override { return {2, 2}; }
  Attributes attributes() const override { return with_wrap({{"axis", axis_}, {"size", size_}}, wrap_); }
  NDArray compute(std::span<const NDArray> inputs) override {
    const NDArray &grad = inputs[0], &index = inputs[1];
    const int axis = normalize_axis(axis_, grad.ndim(), "index_select_backward");
    check<ShapeError>(index.shape() == Shape{grad.shape(axis)}, "index_select_backward: index ", index.shape(),
                      " does not fit gradient ", grad.shape(), " along axis ", axis_);
    Shape shape = grad.shape();
    shape[axis] = size_;
    const NDArray places = checked_index(index, size_, "index_select_backward", wrap_);
    NDArray out = NDArray::zeros(shape, grad.dtype());
    kernels::index_add(grad.contiguous(), axis, places, out);
    return out;
  }
  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    return {take(out_grad, inputs[1], axis_), {}};
  }

 private:
  int64_t axis_, size_;
  bool wrap_;
};

/// NumPy's take: index_select by an index of any shape, whose negative entries count from the end.
class Take final : public Op {
 public:
  explicit Take(int64_t axis) : axis_(axis) {}
  std::string_view name() const override { return "take"; }
  InputCount num_inputs() const override { return {2, 2}; }
  Attributes attributes() const override { return {{"axis", axis_}}; }
  NDArray compute(std::span<const NDArray> inputs) override {
    const NDArray &x = inputs[0], &index = inputs[1];
    const int axis = normalize_axis(axis_, x.ndim(), "take");
    Shape lines = x.shape();
    lines[axis] = index.numel();
    NDArray out(lines, x.dtype());
    const NDArray places = checked_index(index, x.shape(axis), "take", true).reshape({index.numel()});
    kernels::index_select(x.contiguous(), axis, places, out);
    Shape shape = x.shape();
    shape.erase(axis);
    for (int d = index.ndim() - 1; d >= 0; --d) shape.insert(axis, index.shape(d));
    return out.reshape(shape);
  }
  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    const Tensor &x = inputs[0], &index = inputs[1];
    const int axis = normalize_axis(axis_, x.ndim(), "take");
    Shape lines = x.shape();
    lines[axis] = index.numel();
    auto backward = std::make_unique<IndexSelectBackward>(axis, x.shape(axis), true);
    return {apply(std::move(backward), {reshape(out_grad, lines), reshape(index, {index.numel()})}), {}};
  }

 private:
  int64_t axis_;
};

class IndexSelect final : public Op {
 public:
  explicit IndexSelect(int64_t axis) : axis_(axis) {}
  std::string_view name() const override { return "index_select"; }
  InputCount num_inputs() const override { return {2, 2}; }
  Attributes attributes() const override { return {{"axis", axis_}}; }
  NDArray compute(std::span<const NDArray> inputs) override {
    const NDArray &x = inputs[0], &index = inputs[1];
    const int axis = normalize_axis(axis_, x.ndim(), "index_select");
    check<ShapeError>(index.ndim() == 1, "index_select: index must have 1 dimension, got ", index.shape());
    Shape shape = x.shape();
    shape[axis] = index.numel();
    NDArray out(shape, x.dtype());
    kernels::index_select(x.contiguous(), axis, checked_index(index, x.shape(axis), "index_select"), out);
    return out;
  }
  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    const int64_t size = inputs[0].shape(normalize_axis(axis_, inputs[0].ndim(), "index_select"));
    return {apply(std::make_unique<IndexSelectBackward>(axis_, size), {out_grad, inputs[1]}), {}};
  }

 private:
  int64_t axis_;
};

class Embedding final : public Op {
 public:
  /// padding: the row without a gradient; -1: none.
  explicit Embedding(int64_t padding) : padding_(padding) {}
  std::string_view name() const override { return "embedding"; }
  InputCount num_inputs() const override { return {2, 2}; }
  Attributes attributes() const override {
    return padding_ < 0 ? Attributes() : Attributes({{"padding_idx", padding_}});
  }
  NDArray compute(std::span<const NDArray> inputs) override {
    const NDArray &index = inputs[0], &weight = inputs[1];
    check<ShapeError>(weight.ndim() == 2, "embedding: weight must be [num_embeddings, dim], got ", weight.shape());
    Shape shape = index.shape();
    shape.push_back(weight.shape(1));
    NDArray out({index.numel(), weight.shape(1)}, weight.dtype());
    const NDArray rows = checked_index(index, weight.shape(0), "embedding").reshape({index.numel()});
    kernels::index_select(weight.contiguous(), 0, rows, out);
    return out.reshape(shape);
  }
  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    const Tensor &index = inputs[0], &weight = inputs[1];
    const Tensor rows = reshape(out_grad, {index.numel(), weight.shape(1)});
    if (padding_ >= 0) return {{}, without_padding(rows, index, weight.shape(0))};
    auto backward = std::make_unique<IndexSelectBackward>(0, weight.shape(0));
    return {{}, apply(std::move(backward), {rows, reshape(index, {index.numel()})})};
  }

 private:
  // Bags of one row each, in which the padding does not count.
  Tensor without_padding(const Tensor& rows, const Tensor& index, int64_t num_embeddings) const {
    const Attributes sums{{"mode", std::string("sum")}, {"padding_idx", padding_}, {"num_embeddings", num_embeddings}};
    return apply(make_op("embedding_bag_backward", sums), {rows, reshape(index, {index.numel(), 1})});
  }

  int64_t padding_;
};

const OpRegistration indexing_registrations[] = {
    {"gather",
     [](const Attributes& a) { return std::make_unique<Gather>(a.get<int64_t>("axis"), a.get("wrap", false)); }},
    {"take", [](const Attributes& a) { return std::make_unique<Take>(a.get<int64_t>("axis")); }},
    {"gather_backward",
     [](const Attributes& a) {
       return std::make_unique<GatherBackward>(a.get<int64_t>("axis"), shape_attribute(a, "shape"),
                                               a.get("wrap", false));
     }},
    {"index_select", [](const Attributes& a) { return std::make_unique<IndexSelect>(a.get<int64_t>("axis")); }},
    {"index_select_backward",
     [](const Attributes& a) {
       return std::make_unique<IndexSelectBackward>(a.get<int64_t>("axis"), a.get<int64_t>("size"),
                                                    a.get("wrap", false));
     }},
    {"embedding", [](const Attributes& a) { return std::make_unique<Embedding>(a.get<int64_t>("padding_idx", -1)); }},
};

}  // namespace

Tensor gather(const Tensor& x, int64_t axis, const Tensor& index, bool wrap) {
  return apply(std::make_unique<Gather>(axis, wrap), {x, index});
}

Tensor take(const Tensor& x, const Tensor& index, int64_t axis) {
  return apply(std::make_unique<Take>(axis), {x, index});
}

Tensor index_select(const Tensor& x, int64_t axis, const Tensor& index) {
  return apply(std::make_unique<IndexSelect>(axis), {x, index});
}

Tensor embedding(const Tensor& index, const Tensor& weight, std::optional<int64_t> padding_idx) {
  check<ShapeError>(weight.ndim() == 2, "embedding: weight must be [num_embeddings, dim], got ", weight.shape());
  return apply(std::make_unique<Embedding>(padding_row(padding_idx, weight.shape(0), "embedding")), {index, weight});
}

}  // namespace thimble
