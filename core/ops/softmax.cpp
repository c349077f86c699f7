#include <thimble/core/kernels/reduce/softmax.h>
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/reduce.h>

namespace thimble {

namespace {

// Softmax and log_softmax: an output of x's shape, normalized along one axis.
class AlongAxis : public Op {
 public:
  explicit AlongAxis(int64_t axis) : axis_(axis) {}

  Attributes attributes() const override { return {{"axis", axis_}}; }

  // The kernels want rows along the axis that lie dense. Where the axis lies otherwise it is moved there and back.
  NDArray compute(std::span<const NDArray> inputs) override {
    const int axis = axis_of(inputs[0]);
    if (has_dense_rows(inputs[0], axis)) {
      NDArray out = NDArray::empty_like(inputs[0], inputs[0].dtype());
      normalize(inputs[0], inputs[0].shape(axis), out);
      return out;
    }
    const NDArray x = inputs[0].transpose(axis, -1).contiguous();
    NDArray out(x.shape(), x.dtype());
    normalize(x, x.shape(-1), out);
    return out.transpose(axis, -1).contiguous();
  }

  bool compute_into(std::span<const NDArray> inputs, NDArray& out) const override {
    const int axis = axis_of(inputs[0]);
    if (!has_dense_rows(inputs[0], axis) || inputs[0].strides() != out.strides()) return false;
    normalize(inputs[0], inputs[0].shape(axis), out);
    return true;
  }

 protected:
  int64_t axis_;

 private:
  int axis_of(const NDArray& x) const { return normalize_axis(axis_, x.ndim(), std::string(name()).c_str()); }

  static bool has_dense_rows(const NDArray& x, int axis) {
    return x.is_dense() && (x.strides()[axis] == 1 || x.shape(axis) == 1);
  }

  // Each of the rows of n elements that the memory of x and out consists of.
  virtual void normalize(const NDArray& x, int64_t n, NDArray& out) const = 0;
};

class Softmax final : public AlongAxis {
 public:
  using AlongAxis::AlongAxis;
  std::string_view name() const override { return "softmax"; }

  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor>, const Tensor& output) override {
    const Tensor weighted = out_grad * output;
    return {weighted - output * sum(weighted, {axis_}, true)};
  }

 private:
  void normalize(const NDArray& x, int64_t n, NDArray& out) const override {
    dispatch_float(x.dtype(), "softmax", [&](auto tag) {
      using T = typename decltype(tag)::type;
      if (n > 0) kernels::softmax(x.data<T>(), x.numel() / n, n, out.data<T>());
    });
  }
};

class LogSoftmax final : public AlongAxis {
 public:
  using AlongAxis::AlongAxis;
  std::string_view name() const override { return "log_softmax"; }

  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor>, const Tensor& output) override {
    return {out_grad - exp(output) * sum(out_grad, {axis_}, true)};
  }

 private:
  void normalize(const NDArray& x, int64_t n, NDArray& out) const override {
    dispatch_float(x.dtype(), "log_softmax", [&](auto tag) {
      using T = typename decltype(tag)::type;
      if (n > 0) kernels::log_softmax(x.data<T>(), x.numel() / n, n, out.data<T>());
    });
  }
};

template <typename T>
std::unique_ptr<Op> make_softmax(const Attributes& attributes) {
  return std::make_unique<T>(attributes.get<int64_t>("axis", -1));
}

const OpRegistration softmax_registration{"softmax", make_softmax<Softmax>};
const OpRegistration log_softmax_registration{"log_softmax", make_softmax<LogSoftmax>};

}  // namespace

Tensor softmax(const Tensor& x, int64_t axis) { return apply(std::make_unique<Softmax>(axis), {x}); }

Tensor log_softmax(const Tensor& x, int64_t axis) { return apply(std::make_unique<LogSoftmax>(axis), {x}); }

}  // namespace thimble
