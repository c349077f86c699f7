#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/elementwise_op.h>
#include <thimble/core/ops/math.h>
#include <thimble/core/ops/shape.h>

namespace thimble {

namespace {

using kernels::Binary;
using Inputs = std::span<const Tensor>;

class Add : public BinaryOp {
 public:
  Add() : BinaryOp("add", Binary::add) {}
  std::vector<Tensor> gradient(const Tensor& g, Inputs in, const Tensor&) override {
    return {gradient_for(in[0], [&] { return g; }), gradient_for(in[1], [&] { return g; })};
  }
};

class Sub : public BinaryOp {
 public:
  Sub() : BinaryOp("sub", Binary::sub) {}
  std::vector<Tensor> gradient(const Tensor& g, Inputs in, const Tensor&) override {
    return {gradient_for(in[0], [&] { return g; }), gradient_for(in[1], [&] { return -g; })};
  }
};

class Mul : public BinaryOp {
 public:
  Mul() : BinaryOp("mul", Binary::mul) {}
  std::vector<Tensor> gradient(const Tensor& g, Inputs in, const Tensor&) override {
    return {gradient_for(in[0], [&] { return g * in[1]; }), gradient_for(in[1], [&] { return g * in[0]; })};
  }
};

class Div : public BinaryOp {
 public:
  Div() : BinaryOp("div", Binary::div) {}
  std::vector<Tensor> gradient(const Tensor& g, Inputs in, const Tensor& quotient) override {
    return {gradient_for(in[0], [&] { return g / in[1]; }),
            gradient_for(in[1], [&] { return -g * (quotient / in[1]); })};
  }
};

/// The part of g that goes to the larger operand: all of it where larger > smaller or one is NaN, half where they tie.
Tensor share_of_larger(const Tensor& g, const Tensor& larger, const Tensor& smaller) {
  const Tensor half_if_tie = where(equal(larger, smaller), 0.5 * g, g);
  return where(greater(smaller, larger), Tensor::scalar(0, g.dtype()), half_if_tie);
}

class Maximum : public BinaryOp {
 public:
  Maximum() : BinaryOp("maximum", Binary::maximum) {}
  std::vector<Tensor> gradient(const Tensor& g, Inputs in, const Tensor&) override {
    return {gradient_for(in[0], [&] { return share_of_larger(g, in[0], in[1]); }),
            gradient_for(in[1], [&] { return share_of_larger(g, in[1], in[0]); })};
  }
};

class Minimum : public BinaryOp {
 public:
  Minimum() : BinaryOp("minimum", Binary::minimum) {}
  std::vector<Tensor> gradient(const Tensor& g, Inputs in, const Tensor&) override {
    return {gradient_for(in[0], [&] { return share_of_larger(g, in[1], in[0]); }),
            gradient_for(in[1], [&] { return share_of_larger(g, in[0], in[1]); })};
  }
};

class AddRelu : public BinaryOp {
 public:
  AddRelu() : BinaryOp("add_relu", Binary::add_relu) {}
  // The output is above 0 where the sum is: it serves as the mask, and the sum need not be kept.
  std::vector<Tensor> gradient(const Tensor& g, Inputs in, const Tensor& y) override {
    if (!in[0].requires_grad() && !in[1].requires_grad()) return {{}, {}};
    const Tensor masked = elementwise_backward(Binary::relu_backward, y, g);
    return {gradient_for(in[0], [&] { return masked; }), gradient_for(in[1], [&] { return masked; })};
  }
};

/// x above 0, else weight * x; broadcasts as in NumPy, unlike prelu().
class Prelu : public BinaryOp {
 public:
  Prelu() : BinaryOp("prelu", Binary::prelu) {}
  std::vector<Tensor> gradient(const Tensor& g, Inputs in, const Tensor&) override {
    const Tensor &x = in[0], &weight = in[1];
    const Tensor zero = Tensor::scalar(0, g.dtype()), is_positive = greater(x, Tensor::scalar(0, x.dtype()));
    return {gradient_for(x, [&] { return where(is_positive, g, g * weight); }),
            gradient_for(weight, [&] { return where(is_positive, zero, g * x); })};
  }
};

const OpRegistration elementwise_binary_registrations[] = {
    {"add", make_plain<Add>},          {"sub", make_plain<Sub>},         {"mul", make_plain<Mul>},
    {"div", make_plain<Div>},          {"maximum", make_plain<Maximum>}, {"minimum", make_plain<Minimum>},
    {"add_relu", make_plain<AddRelu>}, {"prelu", make_plain<Prelu>},
};

}  // namespace

Tensor add(const Tensor& a, const Tensor& b) { return apply(std::make_unique<Add>(), {a, b}); }
Tensor sub(const Tensor& a, const Tensor& b) { return apply(std::make_unique<Sub>(), {a, b}); }
Tensor mul(const Tensor& a, const Tensor& b) { return apply(std::make_unique<Mul>(), {a, b}); }
Tensor div(const Tensor& a, const Tensor& b) { return apply(std::make_unique<Div>(), {a, b}); }
Tensor maximum(const Tensor& a, const Tensor& b) { return apply(std::make_unique<Maximum>(), {a, b}); }
Tensor minimum(const Tensor& a, const Tensor& b) { return apply(std::make_unique<Minimum>(), {a, b}); }
Tensor add_relu(const Tensor& a, const Tensor& b) { return apply(std::make_unique<AddRelu>(), {a, b}); }

Tensor prelu(const Tensor& x, const Tensor& weight) {
  const int64_t channels = x.ndim() > 1 ? x.shape(1) : 1;
  check<ShapeError>(weight.numel() == 1 || weight.numel() == channels, "prelu: weight ", weight.shape(),
                    " must have one element, or one for each of the ", channels, " channels of ", x.shape());
  Shape shape = Shape::filled(x.ndim(), 1);
  if (weight.numel() > 1) shape[1] = channels;
  return apply(std::make_unique<Prelu>(), {x, weight.shape() == shape ? weight : reshape(weight, shape)});
}

}  // namespace thimble
