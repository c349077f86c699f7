#include <algorithm>
#include <utility>

#include <thimble/core/autocast.h>
#include <thimble/core/autograd.h>
#include <thimble/core/ops/cast.h>

namespace thimble {

namespace {

thread_local DType products = DType::float32;

bool is_parameter(const Tensor& x) { return x.is_leaf() && x.requires_grad(); }

bool any_of_dtype(const std::vector<Tensor>& inputs, DType dtype) {
  return std::ranges::any_of(inputs, [dtype](const Tensor& x) { return x.defined() && x.dtype() == dtype; });
}

void cast_from(DType from, DType to, Tensor& x) {
  if (x.defined() && x.dtype() == from) x = cast(x, to);
}

}  // namespace

DType autocast_dtype() { return products; }

Autocast::Autocast(DType dtype) : before_(products) {
  check<ValueError>(dtype == DType::bfloat16 || dtype == DType::float32, "autocast: expects bfloat16, or float32 for ",
                    "none, got ", dtype);
  products = dtype;
}

Autocast::~Autocast() { products = before_; }

std::vector<Tensor> autocast_inputs(AutocastRule rule, std::vector<Tensor> inputs) {
  switch (rule) {
    case AutocastRule::keep:
      break;
    case AutocastRule::widest:
      if (any_of_dtype(inputs, DType::bfloat16) && any_of_dtype(inputs, DType::float32))
        for (Tensor& x : inputs) cast_from(DType::bfloat16, DType::float32, x);
      break;
    case AutocastRule::float32:
      for (Tensor& x : inputs) cast_from(DType::bfloat16, DType::float32, x);
      break;
    case AutocastRule::first_bfloat16:
      cast_from(DType::float32, DType::bfloat16, inputs[0]);
      break;
    case AutocastRule::bfloat16: {
      // One parameter may stay as it is: the other operand says that the product is one of bfloat16.
      const bool all = std::ranges::all_of(inputs, is_parameter);
      for (Tensor& x : inputs)
        if (all || !is_parameter(x)) cast_from(DType::float32, DType::bfloat16, x);
      break;
    }
  }
  return inputs;
}

}  // namespace thimble
