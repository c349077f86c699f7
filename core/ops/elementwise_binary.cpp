#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/elementwise_op.h>

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

const OpRegistration registrations[] = {
    {"add", make_plain<Add>}, {"sub", make_plain<Sub>}, {"mul", make_plain<Mul>}, {"div", make_plain<Div>}};

}  // namespace

Tensor add(const Tensor& a, const Tensor& b) { return apply(std::make_unique<Add>(), {a, b}); }
Tensor sub(const Tensor& a, const Tensor& b) { return apply(std::make_unique<Sub>(), {a, b}); }
Tensor mul(const Tensor& a, const Tensor& b) { return apply(std::make_unique<Mul>(), {a, b}); }
Tensor div(const Tensor& a, const Tensor& b) { return apply(std::make_unique<Div>(), {a, b}); }

}  // namespace thimble
