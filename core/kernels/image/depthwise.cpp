#include <thimble/core/kernels/gemm/small_gemm.h>
#include <thimble/core/kernels/image/depthwise.h>
#include <thimble/core/kernels/image/pixel_cursor.h>
#include <thimble/core/kernels/reduce/partial_sums.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {

constexpr int64_t kGrain = 100'000;  // multiply-adds worth another thread

int64_t grain_images(const Conv2dGeometry& g) {
  return std::max<int64_t>(1, kGrain / std::max<int64_t>(1, g.out_height * g.out_width * g.taps() * g.out_channels));
}

// Calls visit(output pixel, input pixel, tap) for every tap of output pixels [begin, end) that is not in the padding.
template <typename Visit>
void for_each_tap(const Conv2dGeometry& g, int64_t begin, int64_t end, Visit&& visit) {
  PixelCursor cursor(g, begin);
  for (int64_t out = begin; out < end; ++out, cursor.advance()) {
    for (int64_t kh = 0; kh < g.kernel_height; ++kh) {
      const int64_t y = cursor.top() + kh * g.dilation_height;
      if (y < 0 || y >= g.in_height) continue;
      for (int64_t kw = 0; kw < g.kernel_width; ++kw) {
        const int64_t x = cursor.left() + kw * g.dilation_width;
        if (x < 0 || x >= g.in_width) continue;
        visit(out, (cursor.image() * g.in_height + y) * g.in_width + x, kh * g.kernel_width + kw);
      }
    }
  }
}

}  // namespace

template <typename T>
void depthwise(const Conv2dGeometry& g, const T* x, const T* weight, T* y, const Epilogue<T>& epilogue) {
  const int64_t channels = g.out_channels, pixels = g.out_height * g.out_width, image = pixels * channels;
  parallel_for(g.batch, grain_images(g), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * image; i < end * image; i += channels) {
      if (epilogue.bias)
        std::copy_n(epilogue.bias, channels, y + i);
      else
        std::fill_n(y + i, channels, T{0});
    }
    for_each_tap(g, begin * pixels, end * pixels, [&](int64_t out, int64_t in, int64_t tap) {
      add_products(channels, x + in * channels, weight + tap * channels, y + out * channels);
    });
    if (epilogue.addend)
      for (int64_t i = begin * image; i < end * image; ++i) y[i] += epilogue.addend[i];
    if (epilogue.clamps())
      for (int64_t i = begin * image; i < end * image; ++i) y[i] = std::clamp(y[i], epilogue.lower, epilogue.upper);
  });
}

template <typename T>
void depthwise_input_gradient(const Conv2dGeometry& g, const T* dy, const T* weight, T* dx) {
  const int64_t channels = g.out_channels, pixels = g.out_height * g.out_width;
  const int64_t image = g.in_height * g.in_width * channels;
  parallel_for(g.batch, grain_images(g), [&](int64_t begin, int64_t end) {
    std::fill(dx + begin * image, dx + end * image, T{0});
    for_each_tap(g, begin * pixels, end * pixels, [&](int64_t out, int64_t in, int64_t tap) {
      add_products(channels, dy + out * channels, weight + tap * channels, dx + in * channels);
    });
  });
}

template <typename T>
void depthwise_weight_gradient(const Conv2dGeometry& g, const T* x, const T* dy, T* dweight) {
  const int64_t channels = g.out_channels, weights = g.taps() * channels, pixels = g.out_height * g.out_width;
  constexpr int64_t kBlock = kGemmChain;
  sum_in_shards(g.batch, grain_images(g), weights, dweight, [&](int64_t begin, int64_t end, T* sums) {
    SumInParts<T> parts(sums, weights, kBlock);
    for (int64_t first = begin * pixels; first < end * pixels; first += kBlock) {
      const int64_t last = std::min(first + kBlock, end * pixels);
      T* part = parts.next(last - first);
      for_each_tap(g, first, last, [&](int64_t out, int64_t in, int64_t tap) {
        add_products(channels, x + in * channels, dy + out * channels, part + tap * channels);
      });
    }
    parts.finish();
  });
}

template void depthwise(const Conv2dGeometry&, const float*, const float*, float*, const Epilogue<float>&);
template void depthwise(const Conv2dGeometry&, const double*, const double*, double*, const Epilogue<double>&);
template void depthwise_input_gradient(const Conv2dGeometry&, const float*, const float*, float*);
template void depthwise_input_gradient(const Conv2dGeometry&, const double*, const double*, double*);
template void depthwise_weight_gradient(const Conv2dGeometry&, const float*, const float*, float*);
template void depthwise_weight_gradient(const Conv2dGeometry&, const double*, const double*, double*);

}  // namespace thimble::kernels
