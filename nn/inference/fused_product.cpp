#include <algorithm>
#include <cmath>

#include <thimble/nn/inference/fused_product.h>

namespace thimble::nn {

namespace {

// Scales of batch normalization lie far within. Beyond, folded weights could become denormal, and sums infinite.
bool is_moderate(double scale) {
  return scale == 0 || (std::abs(scale) >= std::ldexp(1, -40) && std::abs(scale) <= std::ldexp(1, 40));
}

}  // namespace

bool FusedProduct::takes(const Tensor& weight, const Tensor& bias) {
  return weight.dtype() == DType::float32 && (!bias.defined() || bias.dtype() == DType::float32);
}

FusedProduct::FusedProduct(NDArray weight, const NDArray& bias, bool relu)
    : weight_(std::move(weight)), bias_(bias.defined() ? bias.contiguous() : NDArray()) {
  if (relu) after_.lower = 0;
}

bool FusedProduct::absorb(const Following& next, SharedWeights& weights) {
  Following after = after_;
  if (!after.append(next)) return false;
  if (next.scale) {
    const SharedWeights::Key key{kFolded, reinterpret_cast<intptr_t>(next.scale->layer)};
    auto folded = weights.get<Folded>(key, [&] { return fold(*next.scale); });
    if (!folded->is_sound) return false;
    folded_ = std::move(folded);
  }
  after_ = std::move(after);
  return true;
}

// In float64, as quant::fuse_conv_bn_relu() does.
FusedProduct::Folded FusedProduct::fold(const ChannelScale& by) const {
  const int64_t channels = weight_.shape(0), each = weight_.numel() / channels;
  const NDArray weight = weight_.contiguous();
  Folded folded{true, NDArray({channels})};
  for (int64_t c = 0; c < channels; ++c) {
    const double scale = by.scale[static_cast<size_t>(c)], bias = bias_.defined() ? double{bias_.data<float>()[c]} : 0;
    folded.bias.data<float>()[c] = static_cast<float>(bias * scale + by.shift[static_cast<size_t>(c)]);
    const float* w = weight.data<float>() + c * each;
    folded.is_sound = folded.is_sound && is_moderate(scale) && std::isfinite(folded.bias.data<float>()[c]) &&
                      std::all_of(w, w + each, [&](float v) { return std::isfinite(static_cast<float>(v * scale)); });
  }
  return folded;
}

kernels::Epilogue<float> FusedProduct::epilogue(std::span<const void* const> inputs) const {
  const NDArray& bias = folded_ ? folded_->bias : bias_;
  return {.bias = bias.defined() ? bias.data<float>() : nullptr,
          .addend = after_.adds ? static_cast<const float*>(inputs.back()) : nullptr,
          .lower = after_.lower,
          .upper = after_.upper};
}

}  // namespace thimble::nn
