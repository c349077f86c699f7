#include <thimble/core/kernels/elementwise/indexing.h>
#include <thimble/core/kernels/reduce/argmax.h>
#include <thimble/core/kernels/reduce/lines.h>
#include <thimble/core/ops/indexing.h>
#include <thimble/core/ops/order.h>
#include <thimble/core/ops/reduce.h>

namespace thimble {

namespace {

// Indices (int64) of an extreme along an axis, which stays with size 1.
NDArray extreme_index(const NDArray& x, int axis, kernels::Extreme extreme, const char* op) {
  check<ShapeError>(x.shape(axis) > 0, op, ": axis ", axis, " of ", x.shape(), " is empty");
  Shape shape = x.shape();
  shape.erase(axis);
  NDArray index(shape, DType::int64);
  kernels::argmax(x, axis, index, extreme);
  return index.unsqueeze(axis);
}

class ArgExtreme final : public Op {
 public:
  ArgExtreme(bool smallest, int64_t axis, bool keepdim, bool last)
      : smallest_(smallest), last_(last), keepdim_(keepdim), axis_(axis) {}

  std::string_view name() const override { return smallest_ ? "argmin" : "argmax"; }
  Attributes attributes() const override {
    return {{"axis", axis_}, {"keepdim", keepdim_}, {"select_last_index", last_}};
  }
  NDArray compute(std::span<const NDArray> inputs) override {
    const char* op = smallest_ ? "argmin" : "argmax";
    const int axis = normalize_axis(axis_, inputs[0].ndim(), op);
    const NDArray index = extreme_index(inputs[0], axis, {smallest_, last_}, op);
    return keepdim_ ? index : index.squeeze(axis);
  }
  std::vector<Tensor> gradient(const Tensor&, std::span<const Tensor>, const Tensor&) override { return {{}}; }

  static std::unique_ptr<Op> make(bool smallest, const Attributes& a) {
    return std::make_unique<ArgExtreme>(smallest, a.get<int64_t>("axis"), a.get<bool>("keepdim", false),
                                        a.get<bool>("select_last_index", false));
  }

 private:
  bool smallest_, last_, keepdim_;
  int64_t axis_;
};

class TopKIndices final : public Op {
 public:
  TopKIndices(int64_t k, int64_t axis, bool largest) : k_(k), axis_(axis), largest_(largest) {}
  std::string_view name() const override { return "topk_indices"; }
  AutocastRule autocast_rule() const override { return AutocastRule::keep; }
  Attributes attributes() const override { return {{"k", k_}, {"axis", axis_}, {"largest", largest_}}; }
  NDArray compute(std::span<const NDArray> inputs) override {
    const NDArray& x = inputs[0];
    const int axis = normalize_axis(axis_, x.ndim(), "topk");
    check<ValueError>(k_ >= 0 && k_ <= x.shape(axis), "topk: k of ", k_, " does not fit axis ", axis, " of ",
                      x.shape());
    const NDArray lines = x.transpose(axis, -1);
    Shape shape = lines.shape();
    shape.back() = k_;
    NDArray out(shape, DType::int64);
    kernels::top_k(lines, largest_, out);
    return out.transpose(axis, -1).contiguous();
  }
  std::vector<Tensor> gradient(const Tensor&, std::span<const Tensor>, const Tensor&) override { return {{}}; }

 private:
  int64_t k_, axis_;
  bool largest_;
};

class CumSum final : public Op {
 public:
  CumSum(int64_t axis, bool exclusive, bool reverse) : axis_(axis), exclusive_(exclusive), reverse_(reverse) {}
  std::string_view name() const override { return "cumsum"; }
  Attributes attributes() const override { return {{"axis", axis_}, {"exclusive", exclusive_}, {"reverse", reverse_}}; }
  NDArray compute(std::span<const NDArray> inputs) override {
    const NDArray& x = inputs[0];
    check<DTypeError>(x.dtype() != DType::bool_, "cumsum: expects floats or integers, got bool");
    NDArray out(x.shape(), x.dtype());
    kernels::cumsum(x, normalize_axis(axis_, x.ndim(), "cumsum"), exclusive_, reverse_, out);
    return out;
  }
  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor>, const Tensor&) override {
    return {cumsum(out_grad, axis_, exclusive_, !reverse_)};
  }

 private:
  int64_t axis_;
  bool exclusive_, reverse_;
};

class Hardmax final : public Op {
 public:
  explicit Hardmax(int64_t axis) : axis_(axis) {}
  std::string_view name() const override { return "hardmax"; }
  Attributes attributes() const override { return {{"axis", axis_}}; }
  NDArray compute(std::span<const NDArray> inputs) override {
    const NDArray& x = inputs[0];
    const int axis = normalize_axis(axis_, x.ndim(), "hardmax");
    check_differentiable(x.dtype(), "hardmax");
    NDArray out = NDArray::zeros(x.shape(), x.dtype());
    if (x.numel() == 0) return out;
    const NDArray index = extreme_index(x, axis, {}, "hardmax");
    kernels::scatter_add(NDArray::ones(index.shape(), x.dtype()), axis, index, out);
    return out;
  }
  std::vector<Tensor> gradient(const Tensor&, std::span<const Tensor> in, const Tensor&) override {
    return {Tensor(NDArray::zeros(in[0].shape(), in[0].dtype()))};
  }

 private:
  int64_t axis_;
};

const OpRegistration order_registrations[] = {
    {"argmax", [](const Attributes& a) { return ArgExtreme::make(false, a); }},
    {"argmin", [](const Attributes& a) { return ArgExtreme::make(true, a); }},
    {"topk_indices",
     [](const Attributes& a) {
       return std::make_unique<TopKIndices>(a.get<int64_t>("k"), a.get<int64_t>("axis"), a.get<bool>("largest"));
     }},
    {"cumsum",
     [](const Attributes& a) {
       return std::make_unique<CumSum>(a.get<int64_t>("axis"), a.get<bool>("exclusive", false),
                                       a.get<bool>("reverse", false));
     }},
    {"hardmax", [](const Attributes& a) { return std::make_unique<Hardmax>(a.get<int64_t>("axis")); }},
};

}  // namespace

NDArray argmax(const NDArray& x, int64_t axis) {
  const int a = normalize_axis(axis, x.ndim(), "argmax");
  return extreme_index(x, a, {}, "argmax").squeeze(a);
}

Tensor argmax(const Tensor& x, int64_t axis, bool keepdim, bool select_last_index) {
  return apply(std::make_unique<ArgExtreme>(false, axis, keepdim, select_last_index), {x});
}

Tensor argmin(const Tensor& x, int64_t axis, bool keepdim, bool select_last_index) {
  return apply(std::make_unique<ArgExtreme>(true, axis, keepdim, select_last_index), {x});
}

std::pair<Tensor, Tensor> topk(const Tensor& x, int64_t k, int64_t axis, bool largest) {
  const Tensor indices = apply(std::make_unique<TopKIndices>(k, axis, largest), {x});
  return {gather(x, axis, indices), indices};
}

std::pair<Tensor, Tensor> sort(const Tensor& x, int64_t axis, bool descending) {
  return topk(x, x.shape(normalize_axis(axis, x.ndim(), "sort")), axis, descending);
}

Tensor argsort(const Tensor& x, int64_t axis, bool descending) { return sort(x, axis, descending).second; }

Tensor cumsum(const Tensor& x, int64_t axis, bool exclusive, bool reverse) {
  return apply(std::make_unique<CumSum>(axis, exclusive, reverse), {x});
}

Tensor hardmax(const Tensor& x, int64_t axis) { return apply(std::make_unique<Hardmax>(axis), {x}); }

}  // namespace thimble
