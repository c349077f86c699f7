#include <cmath>
#include <limits>

#include <thimble/core/kernels/elementwise/number_functions.h>
#include <thimble/core/ops/cast.h>
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/elementwise_op.h>
#include <thimble/core/ops/logic.h>
#include <thimble/core/ops/math.h>

namespace thimble {

namespace {

using kernels::Compare;
using kernels::IntegerBinary;

/// What bits and integers have that floats lack.
struct BitFunction {
  std::string_view name;
  IntegerBinary kernel;
  bool takes_bools;
};

constexpr BitFunction kBitFunctions[] = {
    {"bitwise_and", IntegerBinary::bitwise_and, true},
    {"bitwise_or", IntegerBinary::bitwise_or, true},
    {"bitwise_xor", IntegerBinary::bitwise_xor, true},
    {"bitwise_left_shift", IntegerBinary::left_shift, false},
    {"bitwise_right_shift", IntegerBinary::right_shift, false},
};

class BitOp final : public Op {
 public:
  explicit BitOp(const BitFunction& function) : function_(function) {}
  std::string_view name() const override { return function_.name; }
  InputCount num_inputs() const override { return {2, 2}; }
  NDArray compute(std::span<const NDArray> inputs) override {
    const DType dtype = inputs[0].dtype();
    check<DTypeError>(kernels::is_integer(dtype) || (function_.takes_bools && dtype == DType::bool_), name(),
                      ": expects integers", function_.takes_bools ? " or bools" : "", ", got ", dtype);
    check_same_dtype(name(), inputs[0], inputs[1]);
    return integer_result(function_.kernel, inputs[0], inputs[1]);
  }
  std::vector<Tensor> gradient(const Tensor&, std::span<const Tensor>, const Tensor&) override { return {{}, {}}; }

 private:
  const BitFunction& function_;
};

Tensor apply_bits(size_t function, const Tensor& a, const Tensor& b) {
  return apply(std::make_unique<BitOp>(kBitFunctions[function]), {a, b});
}

// The same bits as the bool or integer has, inverted.
NDArray inverted(const NDArray& x) {
  if (x.dtype() == DType::bool_) return integer_result(IntegerBinary::bitwise_xor, x, NDArray::ones({}, DType::bool_));
  const NDArray negative = integer_result(IntegerBinary::sub, NDArray::zeros({}, x.dtype()), x);
  return integer_result(IntegerBinary::sub, negative, NDArray::ones({}, x.dtype()));  // -x - 1
}

NDArray equals(const NDArray& x, double number) {
  NDArray out = elementwise_output(x.shape(), std::span(&x, 1), DType::bool_);
  kernels::compare(Compare::equal, x, NDArray::full({}, number, x.dtype()), out);
  return out;
}

/// A question that is asked of each element.
class Question : public Op {
 public:
  std::vector<Tensor> gradient(const Tensor&, std::span<const Tensor>, const Tensor&) override { return {{}}; }

 protected:
  // Of 16 bits as float32, which has the same NaN and infinities.
  static NDArray as_floats(const NDArray& x) { return is_differentiable(x.dtype()) ? x : x.to(DType::float32); }
};

class BitwiseNot final : public Question {
 public:
  std::string_view name() const override { return "bitwise_not"; }
  NDArray compute(std::span<const NDArray> inputs) override {
    check<DTypeError>(!is_floating_point(inputs[0].dtype()), "bitwise_not: expects integers or bools, got ",
                      inputs[0].dtype());
    return inverted(inputs[0]);
  }
};

class LogicalNot final : public Question {
 public:
  std::string_view name() const override { return "logical_not"; }
  NDArray compute(std::span<const NDArray> inputs) override { return inverted(inputs[0].to(DType::bool_)); }
};

class IsNaN final : public Question {
 public:
  std::string_view name() const override { return "isnan"; }
  NDArray compute(std::span<const NDArray> inputs) override {
    const NDArray x = as_floats(inputs[0]);
    NDArray is_number = elementwise_output(x.shape(), std::span(&x, 1), DType::bool_);
    kernels::compare(Compare::equal, x, x, is_number);
    return inverted(is_number);
  }
};

class IsInf final : public Question {
 public:
  IsInf(bool negative, bool positive) : negative_(negative), positive_(positive) {}
  std::string_view name() const override { return "isinf"; }
  Attributes attributes() const override { return {{"detect_negative", negative_}, {"detect_positive", positive_}}; }
  NDArray compute(std::span<const NDArray> inputs) override {
    if (kernels::is_integer(inputs[0].dtype())) return NDArray::zeros(inputs[0].shape(), DType::bool_);
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    const NDArray x = as_floats(inputs[0]), none = NDArray::zeros({}, DType::bool_);
    return integer_result(IntegerBinary::bitwise_or, negative_ ? equals(x, -kInfinity) : none.broadcast_to(x.shape()),
                          positive_ ? equals(x, kInfinity) : none);
  }

 private:
  bool negative_, positive_;
};

/// a - b * (the quotient, rounded down or toward zero).
class Remainder final : public Op {
 public:
  explicit Remainder(bool floored) : floored_(floored) {}
  std::string_view name() const override { return floored_ ? "remainder" : "fmod"; }
  InputCount num_inputs() const override { return {2, 2}; }

  NDArray compute(std::span<const NDArray> inputs) override {
    const std::array<NDArray, 2> operands = of_one_dtype(inputs);
    if (kernels::is_integer(operands[0].dtype()) && operands[1].dtype() == operands[0].dtype())
      return integer_result(floored_ ? IntegerBinary::remainder : IntegerBinary::fmod, operands[0], operands[1]);
    NDArray out = elementwise_output(check_elementwise(name(), operands), operands, operands[0].dtype());
    kernels::map_pairs(floored_ ? floored : truncated, operands[0], operands[1], out);
    return out;
  }

  std::vector<Tensor> gradient(const Tensor& g, std::span<const Tensor> in, const Tensor& rest) override {
    const auto whole_quotient = [&] { return round((in[0].detach() - rest.detach()) / in[1].detach()); };
    return {gradient_for(in[0], [&] { return g; }), gradient_for(in[1], [&] { return -g * whole_quotient(); })};
  }

 private:
  static double truncated(double a, double b) { return std::fmod(a, b); }
  static double floored(double a, double b) {
    const double rest = truncated(a, b);
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
  }

  bool floored_;
};

Tensor is_true(const Tensor& x) { return cast(x, DType::bool_); }

const OpRegistration elementwise_logic_registrations[] = {
    {"bitwise_not", make_plain<BitwiseNot>},
    {"logical_not", make_plain<LogicalNot>},
    {"isnan", make_plain<IsNaN>},
    {"isinf",
     [](const Attributes& a) {
       return std::make_unique<IsInf>(a.get<bool>("detect_negative"), a.get<bool>("detect_positive"));
     }},
    {"remainder", [](const Attributes&) { return std::make_unique<Remainder>(true); }},
    {"fmod", [](const Attributes&) { return std::make_unique<Remainder>(false); }},
};

const bool bits_are_registered = [] {
  for (const BitFunction& function : kBitFunctions)
    register_op(std::string(function.name),
                [&function](const Attributes&) { return std::make_unique<BitOp>(function); });
  return true;
}();

}  // namespace

Tensor bitwise_and(const Tensor& a, const Tensor& b) { return apply_bits(0, a, b); }
Tensor bitwise_or(const Tensor& a, const Tensor& b) { return apply_bits(1, a, b); }
Tensor bitwise_xor(const Tensor& a, const Tensor& b) { return apply_bits(2, a, b); }
Tensor bitwise_left_shift(const Tensor& a, const Tensor& bits) { return apply_bits(3, a, bits); }
Tensor bitwise_right_shift(const Tensor& a, const Tensor& bits) { return apply_bits(4, a, bits); }
Tensor bitwise_not(const Tensor& x) { return apply(std::make_unique<BitwiseNot>(), {x}); }
Tensor logical_not(const Tensor& x) { return apply(std::make_unique<LogicalNot>(), {x}); }
Tensor logical_and(const Tensor& a, const Tensor& b) { return bitwise_and(is_true(a), is_true(b)); }
Tensor logical_or(const Tensor& a, const Tensor& b) { return bitwise_or(is_true(a), is_true(b)); }
Tensor logical_xor(const Tensor& a, const Tensor& b) { return bitwise_xor(is_true(a), is_true(b)); }
Tensor isnan(const Tensor& x) { return apply(std::make_unique<IsNaN>(), {x}); }
Tensor isinf(const Tensor& x, bool detect_negative, bool detect_positive) {
  return apply(std::make_unique<IsInf>(detect_negative, detect_positive), {x});
}
Tensor remainder(const Tensor& a, const Tensor& b) { return apply(std::make_unique<Remainder>(true), {a, b}); }
Tensor fmod(const Tensor& a, const Tensor& b) { return apply(std::make_unique<Remainder>(false), {a, b}); }

}  // namespace thimble
