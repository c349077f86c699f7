// Tensors changed in place.
#include <thimble/core/ops/elementwise.h>

namespace thimble {

namespace {

using OpOfTwo = Tensor (*)(const Tensor& a, const Tensor& b);

const Tensor& change(const Tensor& a, const Tensor& b, OpOfTwo op, const char* sign) {
  check<ValueError>(!grad_enabled() || (!a.requires_grad() && !b.requires_grad()), "a ", sign,
                    "= b changes a in place, which a gradient that is recorded forbids: write a = a ", sign,
                    " b, or do it under no_grad()");
  for (int axis = 0; axis < a.ndim(); ++axis)
    check<ValueError>(a.data().strides()[static_cast<size_t>(axis)] != 0 || a.shape(axis) < 2, "a ", sign,
                      "= b: a is broadcast, so that several elements share one memory; write a = a ", sign, " b");
  const Tensor result = op(a, b);
  check<ShapeError>(result.shape() == a.shape(), "a ", sign, "= b: b ", b.shape(), " does not broadcast to a ",
                    a.shape());
  a.mutable_data().copy_from(result.data());
  return a;
}

}  // namespace

const Tensor& operator+=(const Tensor& a, const Tensor& b) { return change(a, b, add, "+"); }
const Tensor& operator-=(const Tensor& a, const Tensor& b) { return change(a, b, sub, "-"); }
const Tensor& operator*=(const Tensor& a, const Tensor& b) { return change(a, b, mul, "*"); }
const Tensor& operator/=(const Tensor& a, const Tensor& b) { return change(a, b, div, "/"); }

}  // namespace thimble
