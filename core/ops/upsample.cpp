#include <thimble/core/ops/channels_last.h>
#include <thimble/core/ops/reduce.h>
#include <thimble/core/ops/shape.h>
#include <thimble/core/ops/upsample.h>

namespace thimble {

namespace {

class UpsampleNearest2d final : public Op {
 public:
  explicit UpsampleNearest2d(Pair scale) : scale_(scale) {}
  std::string_view name() const override { return "upsample_nearest2d"; }
  Attributes attributes() const override { return {{"scale_factor", scale_.to_vector()}}; }

  NDArray compute(std::span<const NDArray> inputs) override {
    NDArray y = channels_last_array(upsampled_shape(inputs[0].shape()), inputs[0].dtype());
    repeat_pixels(inputs[0], y);
    return from_channels_last(y);
  }

  bool compute_into(std::span<const NDArray> inputs, NDArray& out) const override {
    upsampled_shape(inputs[0].shape());
    NDArray y = to_channels_last(out);
    if (!y.shares_memory_with(out)) return false;
    repeat_pixels(inputs[0], y);
    return true;
  }

  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    const Shape& s = inputs[0].shape();
    return {sum(reshape(out_grad, {s[0], s[1], s[2], scale_.height, s[3], scale_.width}), {3, 5})};
  }

 private:
  Shape upsampled_shape(const Shape& s) const {
    constexpr int64_t kMost = int64_t{1} << 20;
    check<ShapeError>(s.ndim() == 4, name(), ": input must be [batch, channels, height, width], got ", s);
    check<ShapeError>(s[0] > 0, name(), ": the batch is empty (input ", s, ")");
    check<ValueError>(scale_.height > 0 && scale_.width > 0 && scale_.height <= kMost && scale_.width <= kMost, name(),
                      ": scale ", scale_.height, "x", scale_.width, " must be 1 to ", kMost);
    Shape out = s;
    check<ShapeError>(
        !__builtin_mul_overflow(s[2], scale_.height, &out[2]) && !__builtin_mul_overflow(s[3], scale_.width, &out[3]),
        name(), ": the output of input ", s, " is too large");
    return out;
  }

  // y is channels-last. Each pixel with its copies as dimensions of their own.
  void repeat_pixels(const NDArray& x, NDArray& y) const {
    const Shape& s = x.shape();
    NDArray copies = y.reshape({s[0], s[2], scale_.height, s[3], scale_.width, s[1]});
    copies.copy_from(x.permute({0, 2, 3, 1}).unsqueeze(2).unsqueeze(4));
  }

  Pair scale_;
};

const OpRegistration upsample_registration{"upsample_nearest2d", [](const Attributes& a) {
                                             return std::make_unique<UpsampleNearest2d>(Pair::from(a, "scale_factor"));
                                           }};

}  // namespace

Tensor upsample_nearest2d(const Tensor& x, Pair scale) {
  return apply(std::make_unique<UpsampleNearest2d>(scale), {x});
}

}  // namespace thimble
