#include <array>
#include <vector>

#include <thimble/core/kernels/elementwise/indexing.h>
#include <thimble/core/kernels/elementwise/scatter.h>
#include <thimble/core/ops/checked_index.h>
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/indexing.h>

namespace thimble {

namespace {

using kernels::IntegerBinary;

constexpr std::array<std::string_view, 5> kScatterReductions = {"none", "sum", "prod", "amax", "amin"};

ScatterReduction scatter_reduction(const Attributes& attributes) {
  const auto name = attributes.get<std::string>("reduction", "none");
  for (size_t i = 0; i < kScatterReductions.size(); ++i)
    if (kScatterReductions[i] == name) return static_cast<ScatterReduction>(i);
  throw FormatError(str("scatter: unknown reduction '", name, "'"));
}

// Combines rows of updates with those of `out` that are named. All contiguous, but for updates.
void write_rows(ScatterReduction reduction, const NDArray& updates, const NDArray& rows, NDArray& out) {
  constexpr IntegerBinary kFunctionOf[] = {IntegerBinary::add, IntegerBinary::add, IntegerBinary::mul,
                                           IntegerBinary::maximum, IntegerBinary::minimum};
  const NDArray terms = updates.contiguous().reshape({rows.numel(), out.shape(1)});
  if (reduction == ScatterReduction::none)
    kernels::scatter_rows(terms, rows, out);
  else
    kernels::scatter_rows(kFunctionOf[static_cast<size_t>(reduction)], terms, rows, out);
}

void check_updates(const char* op, const NDArray& x, const NDArray& updates, const Shape& expected) {
  check<DTypeError>(updates.dtype() == x.dtype(), op, ": updates are ", updates.dtype(), ", x is ", x.dtype());
  check<ShapeError>(updates.shape() == expected, op, ": updates of shape ", updates.shape(), ", expected ", expected);
}

/// What writes have in common: inputs x, index and updates.
class Write : public Op {
 public:
  explicit Write(ScatterReduction reduction) : reduction_(reduction) {}
  InputCount num_inputs() const override { return {3, 3}; }

  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    const bool adds = reduction_ == ScatterReduction::sum;
    check<ValueError>(adds || reduction_ == ScatterReduction::none, name(), ": the reduction '", reduction_name(),
                      "' has no gradient; 'none' and 'sum' have one");
    const Tensor& updates = inputs[2];
    const auto without_updates = [&] {
      return write(out_grad, inputs[1], NDArray::zeros(updates.shape(), updates.dtype()));
    };
    std::vector<Tensor> grads(3);
    if (inputs[0].requires_grad()) grads[0] = adds ? out_grad : without_updates();
    if (updates.requires_grad()) {
      grads[2] = read(out_grad, inputs[1]);
      if (!adds) grads[2] = where(last_writers(inputs[0].shape(), inputs[1], updates.shape()), grads[2], zero(updates));
    }
    return grads;
  }

 protected:
  std::string reduction_name() const { return std::string(kScatterReductions[static_cast<size_t>(reduction_)]); }

  ScatterReduction reduction_;

 private:
  static Tensor zero(const Tensor& like) { return Tensor::scalar(0, like.dtype()); }

  // Which updates nobody has written over.
  Tensor last_writers(const Shape& x, const Tensor& index, const Shape& updates) const {
    const Tensor numbers = NDArray::arange(updates.numel(), DType::int64).reshape(updates);
    return equal(read(write(NDArray::zeros(x, DType::int64), index, numbers), index), numbers);
  }

  virtual Tensor read(const Tensor& x, const Tensor& index) const = 0;
  virtual Tensor write(const Tensor& x, const Tensor& index, const Tensor& updates) const = 0;
};

class Scatter final : public Write {
 public:
  Scatter(int64_t axis, ScatterReduction reduction) : Write(reduction), axis_(axis) {}
  std::string_view name() const override { return "scatter"; }
  Attributes attributes() const override { return {{"axis", axis_}, {"reduction", reduction_name()}}; }

  NDArray compute(std::span<const NDArray> inputs) override {
    const NDArray &x = inputs[0], &updates = inputs[2];
    const int axis = normalize_axis(axis_, x.ndim(), "scatter");
    const Shape& shape = inputs[1].shape();
    bool fits = shape.ndim() == x.ndim();
    for (int d = 0; fits && d < x.ndim(); ++d) fits = d == axis || shape[d] <= x.shape(d);
    check<ShapeError>(fits, "scatter: index ", shape, " does not fit ", x.shape(),
                      ", expected as many dimensions and none larger but axis ", axis);
    check_updates("scatter", x, updates, shape);
    const NDArray places = elements(checked_index(inputs[1], x.shape(axis), "scatter", true), x.shape(), axis);
    NDArray out = x.clone(), rows = out.reshape({x.numel(), 1});
    write_rows(reduction_, updates, places, rows);
    return out;
  }

 private:
  // Where in a contiguous array of `shape` the elements lie.
  static NDArray elements(const NDArray& index, const Shape& shape, int axis) {
    const Shape strides = contiguous_strides(shape);
    NDArray places({index.numel()}, DType::int64);
    Shape at = Shape::filled(shape.ndim(), 0);
    for (int64_t i = 0; i < index.numel(); ++i) {
      int64_t offset = index.data<int64_t>()[i] * strides[axis];
      for (int d = 0; d < shape.ndim(); ++d) offset += d == axis ? 0 : at[d] * strides[d];
      places.data<int64_t>()[i] = offset;
      for (int d = shape.ndim() - 1; d >= 0 && ++at[d] == index.shape(d); --d) at[d] = 0;
    }
    return places;
  }
  Tensor read(const Tensor& x, const Tensor& index) const override { return gather(x, axis_, index, true); }
  Tensor write(const Tensor& x, const Tensor& index, const Tensor& updates) const override {
    return scatter(x, axis_, index, updates);
  }

  int64_t axis_;
};

/// The slices that an index of coordinates names.
struct Slices {
  NDArray rows;      // int64 [number of slices]: of x as [.., elements of a slice]
  Shape shape;       // of all slices together
  int64_t size = 1;  // elements of a slice

  Slices(const Shape& x, const NDArray& index, int64_t batch_dims, const char* op) {
    check<ShapeError>(index.ndim() > 0, op, ": index has no dimensions");
    const int batch = static_cast<int>(batch_dims), last = index.ndim() - 1;
    const int64_t count = index.shape(-1);
    bool fits = batch_dims >= 0 && batch_dims <= last && count <= x.ndim() - batch_dims;
    for (int d = 0; fits && d < batch; ++d) fits = x[d] == index.shape(d);
    check<ShapeError>(fits, op, ": index ", index.shape(), " with ", batch_dims, " batch dimensions does not fit ", x);
    const int first = batch + static_cast<int>(count);  // dimension of a slice
    for (int d = 0; d < last; ++d) shape.push_back(index.shape(d));
    for (int d = first; d < x.ndim(); ++d) {
      shape.push_back(x[d]);
      size *= x[d];
    }
    set_rows(x, index, batch, static_cast<int>(count), op);
  }

 private:
  void set_rows(const Shape& x, const NDArray& index, int batch, int count, const char* op) {
    int64_t slices = 1, batches = 1;
    for (int d = 0; d < index.ndim() - 1; ++d) slices *= index.shape(d);
    for (int d = 0; d < batch; ++d) batches *= x[d];
    const int64_t of_batch = batches > 0 ? slices / batches : 0;
    rows = NDArray({slices}, DType::int64);
    int64_t* row = rows.data<int64_t>();
    for (int64_t i = 0; i < slices; ++i) row[i] = of_batch > 0 ? i / of_batch : 0;
    for (int c = 0; c < count; ++c) {
      const int64_t length = x[batch + c];
      const NDArray coordinate = checked_index(index.slice(-1, c, c + 1), length, op, true);
      for (int64_t i = 0; i < slices; ++i) row[i] = row[i] * length + coordinate.data<int64_t>()[i];
    }
  }
};

// Rows of as many elements as a slice has.
NDArray as_slices(const NDArray& x, const Slices& slices) {
  return x.contiguous().reshape({slices.size > 0 ? x.numel() / slices.size : 0, slices.size});
}

class GatherNd final : public Op {
 public:
  explicit GatherNd(int64_t batch_dims) : batch_dims_(batch_dims) {}
  std::string_view name() const override { return "gather_nd"; }
  InputCount num_inputs() const override { return {2, 2}; }
  Attributes attributes() const override { return {{"batch_dims", batch_dims_}}; }
  NDArray compute(std::span<const NDArray> inputs) override {
    const Slices slices(inputs[0].shape(), inputs[1], batch_dims_, "gather_nd");
    NDArray out({slices.rows.numel(), slices.size}, inputs[0].dtype());
    if (out.numel() > 0) kernels::index_select(as_slices(inputs[0], slices), 0, slices.rows, out);
    return out.reshape(slices.shape);
  }
  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    const Tensor nothing = NDArray::zeros(inputs[0].shape(), inputs[0].dtype());
    return {scatter_nd(nothing, inputs[1], out_grad, ScatterReduction::sum, batch_dims_), {}};
  }

 private:
  int64_t batch_dims_;
};

class ScatterNd final : public Write {
 public:
  ScatterNd(ScatterReduction reduction, int64_t batch_dims) : Write(reduction), batch_dims_(batch_dims) {}
  std::string_view name() const override { return "scatter_nd"; }
  Attributes attributes() const override { return {{"reduction", reduction_name()}, {"batch_dims", batch_dims_}}; }
  NDArray compute(std::span<const NDArray> inputs) override {
    const NDArray &x = inputs[0], &updates = inputs[2];
    const Slices slices(x.shape(), inputs[1], batch_dims_, "scatter_nd");
    check_updates("scatter_nd", x, updates, slices.shape);
    NDArray out = x.clone();
    if (updates.numel() == 0) return out;
    NDArray rows = as_slices(out, slices);
    write_rows(reduction_, updates, slices.rows, rows);
    return out;
  }

 private:
  Tensor read(const Tensor& x, const Tensor& index) const override { return gather_nd(x, index, batch_dims_); }
  Tensor write(const Tensor& x, const Tensor& index, const Tensor& updates) const override {
    return scatter_nd(x, index, updates, ScatterReduction::none, batch_dims_);
  }

  int64_t batch_dims_;
};

class OneHot final : public Op {
 public:
  OneHot(int64_t num_classes, int64_t axis) : num_classes_(num_classes), axis_(axis) {}
  std::string_view name() const override { return "one_hot"; }
  Attributes attributes() const override { return {{"num_classes", num_classes_}, {"axis", axis_}}; }
  NDArray compute(std::span<const NDArray> inputs) override {
    const NDArray index = inputs[0].to(DType::int64).contiguous();
    check<ValueError>(num_classes_ >= 0, "one_hot: num_classes is ", num_classes_);
    const int axis = normalize_axis(axis_, index.ndim() + 1, "one_hot");
    Shape shape = index.shape();
    shape.push_back(num_classes_);
    NDArray out = NDArray::zeros(shape, DType::int64);
    for (int64_t i = 0; i < index.numel(); ++i) {
      const int64_t given = index.data<int64_t>()[i], place = given < 0 ? given + num_classes_ : given;
      if (place >= 0 && place < num_classes_) out.data<int64_t>()[i * num_classes_ + place] = 1;
    }
    Shape order;
    for (int d = 0; d < index.ndim(); ++d) order.push_back(d);
    order.insert(axis, index.ndim());
    return out.permute(order).contiguous();
  }
  std::vector<Tensor> gradient(const Tensor&, std::span<const Tensor>, const Tensor&) override { return {{}}; }

 private:
  int64_t num_classes_, axis_;
};

class NonZero final : public Op {
 public:
  std::string_view name() const override { return "nonzero"; }
  bool has_data_dependent_shape() const override { return true; }
  NDArray compute(std::span<const NDArray> inputs) override {
    const NDArray set = inputs[0].to(DType::bool_).contiguous();
    const Shape strides = contiguous_strides(set.shape());
    std::vector<int64_t> coordinates;
    int64_t count = 0;
    for (int64_t i = 0; i < set.numel(); ++i) {
      if (!set.data<bool>()[i]) continue;
      ++count;
      for (int d = 0; d < set.ndim(); ++d) coordinates.push_back(i / strides[d] % set.shape(d));
    }
    return NDArray::from_vector(coordinates, {count, set.ndim()});
  }
  std::vector<Tensor> gradient(const Tensor&, std::span<const Tensor>, const Tensor&) override { return {{}}; }
};

const OpRegistration scatter_registrations[] = {
    {"scatter",
     [](const Attributes& a) { return std::make_unique<Scatter>(a.get<int64_t>("axis"), scatter_reduction(a)); }},
    {"gather_nd", [](const Attributes& a) { return std::make_unique<GatherNd>(a.get<int64_t>("batch_dims", 0)); }},
    {"scatter_nd",
     [](const Attributes& a) {
       return std::make_unique<ScatterNd>(scatter_reduction(a), a.get<int64_t>("batch_dims", 0));
     }},
    {"one_hot",
     [](const Attributes& a) {
       return std::make_unique<OneHot>(a.get<int64_t>("num_classes"), a.get<int64_t>("axis", -1));
     }},
    {"nonzero", [](const Attributes&) { return std::make_unique<NonZero>(); }},
};

}  // namespace

Tensor scatter(const Tensor& x, int64_t axis, const Tensor& index, const Tensor& updates, ScatterReduction reduction) {
  return apply(std::make_unique<Scatter>(axis, reduction), {x, index, updates});
}

Tensor gather_nd(const Tensor& x, const Tensor& index, int64_t batch_dims) {
  return apply(std::make_unique<GatherNd>(batch_dims), {x, index});
}

Tensor scatter_nd(const Tensor& x, const Tensor& index, const Tensor& updates, ScatterReduction reduction,
                  int64_t batch_dims) {
  return apply(std::make_unique<ScatterNd>(reduction, batch_dims), {x, index, updates});
}

Tensor one_hot(const Tensor& index, int64_t num_classes, int64_t axis) {
  return apply(std::make_unique<OneHot>(num_classes, axis), {index});
}

Tensor nonzero(const Tensor& x) { return apply(std::make_unique<NonZero>(), {x}); }

}  // namespace thimble
