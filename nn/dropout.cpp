#include <thimble/core/ops/dropout.h>
#include <thimble/nn/dropout.h>

namespace thimble::nn {

namespace {
const LayerRegistration registration{"Dropout",
                                     [](const Attributes& a) { return std::make_shared<Dropout>(a.get<double>("p")); }};
}

Dropout::Dropout(double p) : p_(p) { check<ValueError>(p >= 0 && p <= 1, "Dropout: p ", p, " is not in [0, 1]"); }

Tensor Dropout::forward(const Tensor& x) { return dropout(x, p_, training()); }

}  // namespace thimble::nn
