// pixel_shuffle() of images whose channels are those of one new pixel after the other: parts of pixels are copied.
#include <algorithm>

#include <thimble/core/kernels/elementwise/copy_rows.h>
#include <thimble/core/parallel.h>
#include <thimble/nn/inference/inference.h>

namespace thimble::nn {

namespace {

constexpr int64_t kShuffleGrain = 8 * 1024;  // bytes worth another thread

class PixelShuffleStep : public InferenceStep {
 public:
  PixelShuffleStep(const ValueInfo& x, int64_t factor)
      : InferenceStep({.shape = {x.shape[0], x.shape[1] / (factor * factor), x.shape[2] * factor, x.shape[3] * factor},
                       .dtype = x.dtype}),
        factor_(factor),
        pixels_(x.shape[3]),
        pixel_bytes_(x.shape[1] * static_cast<int64_t>(itemsize(x.dtype))) {}

  void run(std::span<const void* const> inputs, void* y, uint8_t*) const override {
    // Of each pixel, what goes to one row.
    const int64_t part = pixel_bytes_ / factor_, row = pixels_ * part, rows = output().shape[0] * output().shape[2];
    const auto* x = static_cast<const char*>(inputs[0]);
    parallel_for(rows, std::max<int64_t>(1, kShuffleGrain / row), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        kernels::copy_rows(x + i / factor_ * pixels_ * pixel_bytes_ + i % factor_ * part, pixel_bytes_,
                           static_cast<char*>(y) + i * row, part, part, pixels_);
    });
  }

 private:
  int64_t factor_, pixels_, pixel_bytes_;
};

std::unique_ptr<InferenceStep> pixel_shuffle_step(const Attributes& attributes, std::span<const ValueInfo> inputs) {
  const ValueInfo& x = inputs[0];
  const auto factor = attributes.get<int64_t>("upscale_factor");
  if (inputs.size() != 1 || !x.is_image() || !x.lies_as_usual() || x.is_constant || x.shape.numel() == 0)
    return nullptr;
  if (factor < 1 || factor > x.shape[1] || x.shape[1] % (factor * factor) != 0) return nullptr;
  if (!attributes.get("depth_first", false) && x.shape[1] != factor * factor) return nullptr;
  return std::make_unique<PixelShuffleStep>(x, factor);
}

const StepRegistration pixel_shuffle_registration("pixel_shuffle", pixel_shuffle_step);

}  // namespace

}  // namespace thimble::nn
