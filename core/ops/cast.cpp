#include <thimble/core/ops/cast.h>
#include <thimble/core/ops/float_operands.h>

namespace thimble {

namespace {

class Cast final : public Op {
 public:
  explicit Cast(DType dtype) : dtype_(dtype) {}

  std::string_view name() const override { return "cast"; }
  Attributes attributes() const override { return {{"dtype", std::string(thimble::name(dtype_))}}; }
  AutocastRule autocast_rule() const override { return AutocastRule::keep; }

  NDArray compute(std::span<const NDArray> inputs) override { return as_dtype(inputs[0], dtype_); }
  bool compute_into(std::span<const NDArray> inputs, NDArray& out) const override {
    out.copy_from(inputs[0]);
    return true;
  }

  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    return {cast(out_grad, inputs[0].dtype())};
  }

 private:
  DType dtype_;
};

class TypeAs final : public Op {
 public:
  std::string_view name() const override { return "type_as"; }
  InputCount num_inputs() const override { return {2, 2}; }
  AutocastRule autocast_rule() const override { return AutocastRule::keep; }
  NDArray compute(std::span<const NDArray> inputs) override { return as_dtype(inputs[0], inputs[1].dtype()); }
  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    const Tensor& other = inputs[1];
    return {cast(out_grad, inputs[0].dtype()),
            other.requires_grad() ? Tensor(NDArray::zeros(other.shape(), other.dtype())) : Tensor()};
  }
};

class RoundedTo final : public Op {
 public:
  explicit RoundedTo(DType dtype) : dtype_(dtype) {}
  std::string_view name() const override { return "rounded_to"; }
  Attributes attributes() const override { return {{"dtype", std::string(thimble::name(dtype_))}}; }
  NDArray compute(std::span<const NDArray> inputs) override {
    const NDArray& x = inputs[0];
    return is_differentiable(x.dtype()) ? as_dtype(as_dtype(x, dtype_), x.dtype()) : x;
  }
  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor>, const Tensor&) override {
    return {out_grad};
  }

 private:
  DType dtype_;
};

DType dtype_attribute(const Attributes& a) {
  const auto name = a.get<std::string>("dtype");
  try {
    return dtype_from_name(name);
  } catch (const ValueError& e) {
    throw FormatError(str("cast: ", e.what()));
  }
}

const OpRegistration cast_registrations[] = {
    {"cast", [](const Attributes& a) { return std::make_unique<Cast>(dtype_attribute(a)); }},
    {"type_as", [](const Attributes&) { return std::make_unique<TypeAs>(); }},
    {"rounded_to", [](const Attributes& a) { return std::make_unique<RoundedTo>(dtype_attribute(a)); }},
};

}  // namespace

Tensor cast(const Tensor& x, DType dtype) { return x.dtype() == dtype ? x : apply(std::make_unique<Cast>(dtype), {x}); }

Tensor type_as(const Tensor& x, const Tensor& other) { return apply(std::make_unique<TypeAs>(), {x, other}); }

Tensor rounded_to(const Tensor& x, DType dtype) { return apply(std::make_unique<RoundedTo>(dtype), {x}); }

}  // namespace thimble
