#include <algorithm>

#include <thimble/core/ops/composed_op.h>
#include <thimble/core/ops/pad_same.h>
#include <thimble/core/ops/pool_geometry.h>
#include <thimble/core/ops/shape.h>

namespace thimble {

namespace {

using Sizes = std::vector<int64_t>;

// Of images or volumes: kernel, stride and dilation have an entry for each axis.
class PadSame final : public ComposedOp {
 public:
  PadSame(Sizes kernel, Sizes stride, Sizes dilation, bool upper, double value)
      : kernel_(std::move(kernel)),
        stride_(std::move(stride)),
        dilation_(std::move(dilation)),
        upper_(upper),
        value_(value) {}
  std::string_view name() const override { return kernel_.size() == 2 ? "pad_same2d" : "pad_same3d"; }
  Attributes attributes() const override {
    return {
        {"kernel_size", kernel_}, {"stride", stride_}, {"dilation", dilation_}, {"upper", upper_}, {"value", value_}};
  }
  bool compute_into(std::span<const NDArray> inputs, NDArray& out) const override {
    const Sizes padding = padding_of(inputs[0].shape());
    if (!pads_nothing(padding))
      return make_op("pad", {{"padding", padding}, {"value", value_}})->compute_into(inputs, out);
    out.copy_from(inputs[0]);
    return true;
  }

 private:
  Tensor formula(std::span<const Tensor> inputs) const override {
    const Sizes padding = padding_of(inputs[0].shape());
    return pads_nothing(padding) ? inputs[0] : pad(inputs[0], padding, value_);
  }

  // As pad() takes it, of the last axis first.
  Sizes padding_of(const Shape& x) const {
    const int dims = static_cast<int>(kernel_.size());
    check<ShapeError>(x.ndim() == dims + 2 && x.numel() > 0, name(), ": expects ",
                      dims == 2 ? "images [n, c, h, w]" : "volumes [n, c, d, h, w]", " that are not empty, got ", x);
    Sizes padding;
    for (int d = dims - 1; d >= 0; --d) {
      const auto at = static_cast<size_t>(d);
      const auto [before, after] = along(x[d + 2], kernel_[at], stride_[at], dilation_[at]);
      padding.insert(padding.end(), {before, after});
    }
    return padding;
  }

  static bool pads_nothing(const Sizes& padding) {
    return std::ranges::all_of(padding, [](int64_t p) { return p == 0; });
  }

  std::pair<int64_t, int64_t> along(int64_t size, int64_t kernel, int64_t stride, int64_t dilation) const {
    constexpr int64_t kMost = int64_t{1} << 24;
    const auto is_sound = [](int64_t value) { return value > 0 && value < kMost; };
    check<ValueError>(is_sound(kernel) && is_sound(stride) && is_sound(dilation), name(),
                      ": kernels, strides and dilations must be 1 to ", kMost, ", got ", kernel, ", ", stride, " and ",
                      dilation);
    check<ValueError>(kernel * dilation < kMost, name(), ": a kernel of ", kernel, " with gaps of ", dilation,
                      " is too large");
    return same_padding(size, dilation * (kernel - 1) + 1, stride, upper_ ? AutoPad::upper : AutoPad::lower);
  }

  Sizes kernel_, stride_, dilation_;
  bool upper_;
  double value_;
};

// N is Pair or Triple.
template <typename N>
std::unique_ptr<Op> make_pad_same(const Attributes& a) {
  const auto sizes = [&](const char* key) { return N::from(a, key).to_vector(); };
  return std::make_unique<PadSame>(sizes("kernel_size"), sizes("stride"), sizes("dilation"), a.get<bool>("upper", true),
                                   a.get<double>("value", 0.0));
}

template <typename N, typename Options>
Tensor padded_same(const Tensor& x, N kernel, const Options& o) {
  return apply(
      std::make_unique<PadSame>(kernel.to_vector(), o.stride.to_vector(), o.dilation.to_vector(), o.upper, o.value),
      {x});
}

const OpRegistration pad_same_registrations[] = {{"pad_same2d", make_pad_same<Pair>},
                                                 {"pad_same3d", make_pad_same<Triple>}};

}  // namespace

Tensor pad_same2d(const Tensor& x, Pair kernel, const PadSame2dOptions& options) {
  return padded_same(x, kernel, options);
}

Tensor pad_same3d(const Tensor& x, Triple kernel, const PadSame3dOptions& options) {
  return padded_same(x, kernel, options);
}

}  // namespace thimble
