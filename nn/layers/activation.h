// Activations and other ops as modules. They hold no state, so a traced graph shows the op itself.
#pragma once

#include <thimble/core/api.h>
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/reduce.h>
#include <thimble/core/ops/shape.h>
#include <thimble/nn/module.h>

namespace thimble::nn {

/// relu(x)
struct THIMBLE_API ReLU : Module {
  Tensor forward(const Tensor& x) override { return relu(x); }
};
/// relu6(x)
struct THIMBLE_API ReLU6 : Module {
  Tensor forward(const Tensor& x) override { return relu6(x); }
};
/// gelu(x)
struct THIMBLE_API GELU : Module {
  Tensor forward(const Tensor& x) override { return gelu(x); }
};
/// silu(x)
struct THIMBLE_API SiLU : Module {
  Tensor forward(const Tensor& x) override { return silu(x); }
};
/// hardsigmoid(x)
struct THIMBLE_API Hardsigmoid : Module {
  Tensor forward(const Tensor& x) override { return hardsigmoid(x); }
};
/// hardswish(x)
struct THIMBLE_API Hardswish : Module {
  Tensor forward(const Tensor& x) override { return hardswish(x); }
};
/// tanh(x)
struct THIMBLE_API Tanh : Module {
  Tensor forward(const Tensor& x) override { return tanh(x); }
};
/// sigmoid(x)
struct THIMBLE_API Sigmoid : Module {
  Tensor forward(const Tensor& x) override { return sigmoid(x); }
};

/// leaky_relu(x, negative_slope)
struct THIMBLE_API LeakyReLU : Module {
  explicit LeakyReLU(double slope = 0.01) : negative_slope(slope) {}
  Tensor forward(const Tensor& x) override { return leaky_relu(x, negative_slope); }
  double negative_slope;
};

/// softmax(x, axis)
struct THIMBLE_API Softmax : Module {
  explicit Softmax(int64_t over_axis = -1) : axis(over_axis) {}
  Tensor forward(const Tensor& x) override { return softmax(x, axis); }
  int64_t axis;
};

/// flatten(x, start_dim, end_dim)
struct THIMBLE_API Flatten : Module {
  explicit Flatten(int64_t from = 1, int64_t to = -1) : start_dim(from), end_dim(to) {}
  Tensor forward(const Tensor& x) override { return flatten(x, start_dim, end_dim); }
  int64_t start_dim, end_dim;
};

}  // namespace thimble::nn
