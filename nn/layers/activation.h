// Activations and other ops as modules. They hold no state, so a traced graph shows the op itself.
#pragma once

#include <thimble/core/api.h>
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/math.h>
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

/// elu(x, alpha)
struct THIMBLE_API ELU : Module {
  explicit ELU(double a = 1) : alpha(a) {}
  Tensor forward(const Tensor& x) override { return elu(x, alpha); }
  double alpha;
};
/// selu(x)
struct THIMBLE_API SELU : Module {
  Tensor forward(const Tensor& x) override { return selu(x); }
};
/// celu(x, alpha)
struct THIMBLE_API CELU : Module {
  explicit CELU(double a = 1) : alpha(a) {}
  Tensor forward(const Tensor& x) override { return celu(x, alpha); }
  double alpha;
};
/// softplus(x, beta, threshold)
struct THIMBLE_API Softplus : Module {
  explicit Softplus(double b = 1, double t = 20) : beta(b), threshold(t) {}
  Tensor forward(const Tensor& x) override { return softplus(x, beta, threshold); }
  double beta, threshold;
};
/// softsign(x)
struct THIMBLE_API Softsign : Module {
  Tensor forward(const Tensor& x) override { return softsign(x); }
};
/// mish(x)
struct THIMBLE_API Mish : Module {
  Tensor forward(const Tensor& x) override { return mish(x); }
};
/// clamp(x, min_val, max_val)
struct THIMBLE_API Hardtanh : Module {
  /// Throws ValueError unless min is below max.
  explicit Hardtanh(double min = -1, double max = 1) : min_val(min), max_val(max) {
    check<ValueError>(min < max, "Hardtanh: min_val ", min, " is not below max_val ", max);
  }
  Tensor forward(const Tensor& x) override { return clamp(x, min_val, max_val); }
  double min_val, max_val;
};
/// glu(x, axis)
struct THIMBLE_API GLU : Module {
  explicit GLU(int64_t halved_axis = -1) : axis(halved_axis) {}
  Tensor forward(const Tensor& x) override { return glu(x, axis); }
  int64_t axis;
};

/// x itself.
struct THIMBLE_API Identity : Module {
  Tensor forward(const Tensor& x) override { return x; }
};

/// softmax(x, axis)
struct THIMBLE_API Softmax : Module {
  explicit Softmax(int64_t over_axis = -1) : axis(over_axis) {}
  Tensor forward(const Tensor& x) override { return softmax(x, axis); }
  int64_t axis;
};

/// log_softmax(x, axis)
struct THIMBLE_API LogSoftmax : Module {
  explicit LogSoftmax(int64_t over_axis = -1) : axis(over_axis) {}
  Tensor forward(const Tensor& x) override { return log_softmax(x, axis); }
  int64_t axis;
};

/// flatten(x, start_dim, end_dim)
struct THIMBLE_API Flatten : Module {
  explicit Flatten(int64_t from = 1, int64_t to = -1) : start_dim(from), end_dim(to) {}
  Tensor forward(const Tensor& x) override { return flatten(x, start_dim, end_dim); }
  int64_t start_dim, end_dim;
};

}  // namespace thimble::nn
