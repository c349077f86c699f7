#include <thimble/core/ops/composed_op.h>
#include <thimble/core/ops/pad_same.h>
#include <thimble/core/ops/pool_geometry.h>
#include <thimble/core/ops/shape.h>

namespace thimble {

namespace {

class PadSame2d final : public ComposedOp {
 public:
  PadSame2d(Pair kernel, const PadSame2dOptions& options) : kernel_(kernel), options_(options) {}
  std::string_view name() const override { return "pad_same2d"; }
  Attributes attributes() const override {
    return {{"kernel_size", kernel_.to_vector()},
            {"stride", options_.stride.to_vector()},
            {"dilation", options_.dilation.to_vector()},
            {"upper", options_.upper},
            {"value", options_.value}};
  }

 private:
  Tensor formula(std::span<const Tensor> inputs) const override {
    const Tensor& x = inputs[0];
    check<ShapeError>(x.ndim() == 4 && x.numel() > 0, name(), ": expects images [n, c, h, w] that are not empty, got ",
                      x.shape());
    const auto [top, bottom] = along(x.shape(2), kernel_.height, options_.stride.height, options_.dilation.height);
    const auto [left, right] = along(x.shape(3), kernel_.width, options_.stride.width, options_.dilation.width);
    return top + bottom + left + right == 0 ? x : pad(x, {left, right, top, bottom}, options_.value);
  }

  std::pair<int64_t, int64_t> along(int64_t size, int64_t kernel, int64_t stride, int64_t dilation) const {
    constexpr int64_t kMost = int64_t{1} << 24;
    const auto is_sound = [](int64_t value) { return value > 0 && value < kMost; };
    check<ValueError>(is_sound(kernel) && is_sound(stride) && is_sound(dilation), name(),
                      ": kernels, strides and dilations must be 1 to ", kMost, ", got ", kernel, ", ", stride, " and ",
                      dilation);
    check<ValueError>(kernel * dilation < kMost, name(), ": a kernel of ", kernel, " with gaps of ", dilation,
                      " is too large");
    return same_padding(size, dilation * (kernel - 1) + 1, stride, options_.upper ? AutoPad::upper : AutoPad::lower);
  }

  Pair kernel_;
  PadSame2dOptions options_;
};

const OpRegistration pad_same2d_registration{
    "pad_same2d", [](const Attributes& a) {
      return std::make_unique<PadSame2d>(Pair::from(a, "kernel_size"),
                                         PadSame2dOptions{Pair::from(a, "stride"), Pair::from(a, "dilation"),
                                                          a.get<bool>("upper", true), a.get<double>("value", 0.0)});
    }};

}  // namespace

Tensor pad_same2d(const Tensor& x, Pair kernel, const PadSame2dOptions& options) {
  return apply(std::make_unique<PadSame2d>(kernel, options), {x});
}

}  // namespace thimble
