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

DType dtype_attribute(const Attributes& a) {
  const auto name = a.get<std::string>("dtype");
  try {
    return dtype_from_name(name);
  } catch (const ValueError& e) {
    throw FormatError(str("cast: ", e.what()));
  }
}

const OpRegistration cast_registration{"cast",
                                       [](const Attributes& a) { return std::make_unique<Cast>(dtype_attribute(a)); }};

}  // namespace

Tensor cast(const Tensor& x, DType dtype) { return x.dtype() == dtype ? x : apply(std::make_unique<Cast>(dtype), {x}); }

}  // namespace thimble
