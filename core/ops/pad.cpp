#include <algorithm>
#include <array>

#include <thimble/core/kernels/elementwise/indexing.h>
#include <thimble/core/ops/shape.h>

namespace thimble {

namespace {

constexpr std::array<std::string_view, 4> kPadModes = {"constant", "reflect", "replicate", "circular"};

PadMode pad_mode(const std::string& name) {
  for (size_t i = 0; i < kPadModes.size(); ++i)
    if (kPadModes[i] == name) return static_cast<PadMode>(i);
  throw FormatError(str("pad: unknown mode '", name, "'"));
}

/// What is put before and after the elements of one axis.
struct AxisPadding {
  int axis;
  int64_t before, after;
};

// Which of n elements is at place i, which may lie before the first or behind the last.
int64_t repeated_element(PadMode mode, int64_t i, int64_t n) {
  if (mode == PadMode::replicate) return std::clamp<int64_t>(i, 0, n - 1);
  const int64_t period = mode == PadMode::circular ? n : std::max<int64_t>(1, 2 * (n - 1));
  const int64_t at = (i % period + period) % period;
  return mode == PadMode::circular || at < n ? at : period - at;
}

NDArray repeated_elements(PadMode mode, int64_t size, const AxisPadding& padding) {
  NDArray index({size + padding.before + padding.after}, DType::int64);
  for (int64_t i = 0; i < index.numel(); ++i)
    index.data<int64_t>()[i] = repeated_element(mode, i - padding.before, size);
  return index;
}

/// Padding is one of two lists: "padding", PyTorch's, or "pads", ONNX's, {before of each axis..., after of each
/// axis...} of "axes", or of all. The value of the mode constant is a second input, if there is one.
class Pad final : public Op {
 public:
  explicit Pad(const Attributes& attributes)
      : attributes_(attributes),
        mode_(pad_mode(attributes.get<std::string>("mode", "constant"))),
        value_(attributes.get<double>("value", 0)),
        is_onnx_(attributes.contains("pads")),
        padding_(attributes.get<std::vector<int64_t>>(is_onnx_ ? "pads" : "padding")),
        axes_(is_onnx_ ? attributes.get<std::vector<int64_t>>("axes", {}) : std::vector<int64_t>()) {}

  std::string_view name() const override { return "pad"; }
  InputCount num_inputs() const override { return {1, 2}; }
  AutocastRule autocast_rule() const override { return AutocastRule::keep; }
  Attributes attributes() const override { return attributes_; }

  NDArray compute(std::span<const NDArray> inputs) override {
    const std::vector<AxisPadding> paddings = paddings_of(inputs[0].shape());
    NDArray x = cropped(inputs[0], paddings);
    if (mode_ == PadMode::constant) {
      NDArray out(padded_shape(x.shape(), paddings), x.dtype());
      put_in_constant(x, paddings, inputs, out);
      return out;
    }
    for (const AxisPadding& p : paddings) {
      if (p.before <= 0 && p.after <= 0) continue;
      const AxisPadding put{p.axis, std::max<int64_t>(p.before, 0), std::max<int64_t>(p.after, 0)};
      check<ShapeError>(x.shape(p.axis) > 0, "pad: there is nothing to repeat in ", x.shape(), " along axis ", p.axis);
      NDArray out(padded_shape(x.shape(), {put}), x.dtype());
      kernels::index_select(x.contiguous(), p.axis, repeated_elements(mode_, x.shape(p.axis), put), out);
      x = out;
    }
    return x;
  }

  bool compute_into(std::span<const NDArray> inputs, NDArray& out) const override {
    if (mode_ != PadMode::constant) return false;
    const std::vector<AxisPadding> paddings = paddings_of(inputs[0].shape());
    put_in_constant(cropped(inputs[0], paddings), paddings, inputs, out);
    return true;
  }

  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    const Shape& shape = inputs[0].shape();
    const std::vector<AxisPadding> paddings = paddings_of(shape);
    Tensor grad = out_grad;
    for (auto p = paddings.rbegin(); p != paddings.rend(); ++p) {
      const AxisPadding put{p->axis, std::max<int64_t>(p->before, 0), std::max<int64_t>(p->after, 0)};
      const int64_t size = shape[p->axis] + std::min<int64_t>(p->before, 0) + std::min<int64_t>(p->after, 0);
      if (put.before == 0 && put.after == 0) continue;
      if (mode_ == PadMode::constant)
        grad = slice(grad, p->axis, put.before, put.before + size);
      else
        grad = apply(make_op("index_select_backward", {{"axis", int64_t{p->axis}}, {"size", size}}),
                     {grad, repeated_elements(mode_, size, put)});
    }
    std::vector<Tensor> grads(inputs.size());
    grads[0] = uncropped(grad, shape.ndim(), paddings);
    if (inputs.size() > 1 && inputs[1].requires_grad())
      throw ValueError("pad: there is no gradient for the value, which is an input");
    return grads;
  }

 private:
  // In the order of the list; axes that are named twice are refused.
  std::vector<AxisPadding> paddings_of(const Shape& shape) const {
    const int pairs = static_cast<int>(std::min<size_t>(padding_.size() / 2, Shape::kMaxDims + 1));
    check<ShapeError>(padding_.size() % 2 == 0 && pairs <= shape.ndim(), "pad: ", padding_.size(),
                      " numbers of padding do not fit shape ", shape, ", expected {before, after} of at most ",
                      shape.ndim(), " axes");
    check<ShapeError>(!is_onnx_ || pairs == (axes_.empty() ? shape.ndim() : static_cast<int>(axes_.size())),
                      "pad: ", padding_.size(), " numbers of padding do not fit ", axes_.size(), " axes of shape ",
                      shape);
    std::vector<AxisPadding> paddings;
    for (int i = 0; i < pairs; ++i) {
      const auto at = static_cast<size_t>(i);
      const int own = axes_.empty() ? i : normalize_axis(axes_[at], shape.ndim(), "pad");
      paddings.push_back(is_onnx_ ? AxisPadding{own, padding_[at], padding_[at + static_cast<size_t>(pairs)]}
                                  : AxisPadding{shape.ndim() - 1 - i, padding_[2 * at], padding_[2 * at + 1]});
      const int axis = paddings.back().axis;
      check<ShapeError>(std::ranges::count(paddings, axis, &AxisPadding::axis) == 1, "pad: axis ", axis,
                        " is named twice");
    }
    return paddings;
  }

  static NDArray cropped(NDArray x, const std::vector<AxisPadding>& paddings) {
    for (const AxisPadding& p : paddings) {
      const int64_t size = x.shape(p.axis);
      check<ShapeError>(p.before >= -size && p.after >= -size &&
                            -std::min<int64_t>(p.before, 0) <= size + std::min<int64_t>(p.after, 0),
                        "pad: padding {", p.before, ",", p.after, "} cuts off more than the ", size, " of axis ",
                        p.axis);
      if (p.before < 0 || p.after < 0)
        x = x.slice(p.axis, std::max<int64_t>(-p.before, 0), size + std::min<int64_t>(p.after, 0));
    }
    return x;
  }

  static Tensor uncropped(const Tensor& grad, int ndim, const std::vector<AxisPadding>& paddings) {
    std::vector<int64_t> zeros(static_cast<size_t>(2 * ndim), 0);
    bool has_cut = false;
    for (const AxisPadding& p : paddings) {
      const auto at = static_cast<size_t>(2 * (ndim - 1 - p.axis));
      zeros[at] = std::max<int64_t>(-p.before, 0);
      zeros[at + 1] = std::max<int64_t>(-p.after, 0);
      has_cut = has_cut || p.before < 0 || p.after < 0;
    }
    return has_cut ? pad(grad, zeros) : grad;
  }

  static Shape padded_shape(Shape shape, const std::vector<AxisPadding>& paddings) {
    for (const AxisPadding& p : paddings) {
      int64_t& size = shape[p.axis];
      check<ShapeError>(!__builtin_add_overflow(size, std::max<int64_t>(p.before, 0), &size) &&
                            !__builtin_add_overflow(size, std::max<int64_t>(p.after, 0), &size),
                        "pad: padding {", p.before, ",", p.after, "} is too large");
    }
    return shape;
  }

  void put_in_constant(const NDArray& x, const std::vector<AxisPadding>& paddings, std::span<const NDArray> inputs,
                       NDArray& out) const {
    if (inputs.size() > 1) {
      check<ShapeError>(inputs[1].numel() == 1, "pad: the value has shape ", inputs[1].shape(), ", expected a number");
      out.copy_from(inputs[1].reshape({}));
    } else {
      out.fill(value_);
    }
    NDArray middle = out;
    for (const AxisPadding& p : paddings) {
      const int64_t before = std::max<int64_t>(p.before, 0);
      middle = middle.slice(p.axis, before, before + x.shape(p.axis));
    }
    middle.copy_from(x);
  }

  Attributes attributes_;
  PadMode mode_;
  double value_;
  bool is_onnx_;
  std::vector<int64_t> padding_, axes_;
};

const OpRegistration pad_registration{"pad", [](const Attributes& a) { return std::make_unique<Pad>(a); }};

}  // namespace

Tensor pad(const Tensor& x, const std::vector<int64_t>& padding, double value) {
  return apply(std::make_unique<Pad>(Attributes{{"padding", padding}, {"value", value}}), {x});
}

Tensor pad(const Tensor& x, const std::vector<int64_t>& padding, PadMode mode) {
  const std::string name(kPadModes[static_cast<size_t>(mode)]);
  return apply(std::make_unique<Pad>(Attributes{{"padding", padding}, {"mode", name}}), {x});
}

}  // namespace thimble
