// Pooling and upsampling as modules. They hold no state, so a traced graph shows the op itself.
#pragma once

#include <thimble/core/api.h>
#include <thimble/core/ops/pool.h>
#include <thimble/core/ops/pool3d.h>
#include <thimble/core/ops/upsample.h>
#include <thimble/nn/module.h>

namespace thimble::nn {

/// max_pool2d(x, kernel, options)
struct THIMBLE_API MaxPool2d : Module {
  using Options = MaxPool2dOptions;
  explicit MaxPool2d(Pair size, Options o = {}) : kernel(size), options(o) {}
  template <typename Slip = thimble::detail::NotAnOptionOf<Options>>
  MaxPool2d(Pair size, ...) = delete;
  Tensor forward(const Tensor& x) override { return max_pool2d(x, kernel, options); }
  Pair kernel;
  Options options;
};

/// avg_pool2d(x, kernel, options)
struct THIMBLE_API AvgPool2d : Module {
  using Options = AvgPool2dOptions;
  explicit AvgPool2d(Pair size, Options o = {}) : kernel(size), options(o) {}
  template <typename Slip = thimble::detail::NotAnOptionOf<Options>>
  AvgPool2d(Pair size, ...) = delete;
  Tensor forward(const Tensor& x) override { return avg_pool2d(x, kernel, options); }
  Pair kernel;
  Options options;
};

/// adaptive_avg_pool2d(x, output_size)
struct THIMBLE_API AdaptiveAvgPool2d : Module {
  explicit AdaptiveAvgPool2d(Pair size) : output_size(size) {}
  Tensor forward(const Tensor& x) override { return adaptive_avg_pool2d(x, output_size); }
  Pair output_size;
};

/// max_pool3d(x, kernel, options)
struct THIMBLE_API MaxPool3d : Module {
  using Options = MaxPool3dOptions;
  explicit MaxPool3d(Triple size, Options o = {}) : kernel(size), options(o) {}
  template <typename Slip = thimble::detail::NotAnOptionOf<Options>>
  MaxPool3d(Triple size, ...) = delete;
  Tensor forward(const Tensor& x) override { return max_pool3d(x, kernel, options); }
  Triple kernel;
  Options options;
};

/// avg_pool3d(x, kernel, options)
struct THIMBLE_API AvgPool3d : Module {
  using Options = AvgPool3dOptions;
  explicit AvgPool3d(Triple size, Options o = {}) : kernel(size), options(o) {}
  template <typename Slip = thimble::detail::NotAnOptionOf<Options>>
  AvgPool3d(Triple size, ...) = delete;
  Tensor forward(const Tensor& x) override { return avg_pool3d(x, kernel, options); }
  Triple kernel;
  Options options;
};

/// adaptive_avg_pool3d(x, output_size)
struct THIMBLE_API AdaptiveAvgPool3d : Module {
  explicit AdaptiveAvgPool3d(Triple size) : output_size(size) {}
  Tensor forward(const Tensor& x) override { return adaptive_avg_pool3d(x, output_size); }
  Triple output_size;
};

/// upsample_nearest2d(x, scale)
struct THIMBLE_API UpsampleNearest2d : Module {
  explicit UpsampleNearest2d(Pair factor) : scale(factor) {}
  Tensor forward(const Tensor& x) override { return upsample_nearest2d(x, scale); }
  Pair scale;
};

}  // namespace thimble::nn
