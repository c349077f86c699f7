// PReLU (He et al. 2015): relu whose slope below 0 is learned. In a graph it is the op prelu.
#pragma once

#include <thimble/core/api.h>
#include <thimble/core/ops/math.h>
#include <thimble/nn/module.h>

namespace thimble::nn {

/// prelu(x, weight). weight [num_parameters]: one slope, or one for each channel, x's second dimension.
class THIMBLE_API PReLU : public Module {
 public:
  /// Throws ValueError for num_parameters below 1.
  explicit PReLU(int64_t num_parameters = 1, double init = 0.25)
      : weight(register_parameter("weight", slopes(num_parameters, init))) {}
  Tensor forward(const Tensor& x) override { return prelu(x, weight); }

  const Tensor weight;

 private:
  static NDArray slopes(int64_t n, double value) {
    check<ValueError>(n > 0, "PReLU: num_parameters ", n, " must be at least 1");
    return NDArray::full({n}, value);
  }
};

}  // namespace thimble::nn
