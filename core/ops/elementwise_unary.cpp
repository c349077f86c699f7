#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/elementwise_op.h>

namespace thimble {

namespace {

using kernels::Unary;
using Inputs = std::span<const Tensor>;

class Neg : public UnaryOp {
 public:
  Neg() : UnaryOp("neg", Unary::neg) {}
  std::vector<Tensor> gradient(const Tensor& g, Inputs, const Tensor&) override { return {-g}; }
};

const OpRegistration registrations[] = {{"neg", make_plain<Neg>}};

}  // namespace

Tensor neg(const Tensor& x) { return apply(std::make_unique<Neg>(), {x}); }

}  // namespace thimble
