#include <thimble/core/ops/elementwise.h>
#include <thimble/nn/fused.h>

namespace thimble::nn {

namespace {
const LayerRegistration registration{"LinearReLU", [](const Attributes& a) { return make_linear<LinearReLU>(a); }};
}

Tensor LinearReLU::forward(const Tensor& x) { return relu(Linear::forward(x)); }

}  // namespace thimble::nn
