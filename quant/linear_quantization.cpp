#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include <thimble/core/kernels/int8/quantize.h>
#include <thimble/core/small_float.h>
#include <thimble/quant/linear_quantization.h>

namespace thimble::quant {

namespace {

// The integers of a type, and what they are kept in.
struct IntegerType {
  std::string_view name;
  DType dtype;
  int32_t low, high;
};

constexpr IntegerType kIntegerTypes[] = {
    {"uint8", DType::uint8, 0, 255},        {"int8", DType::int8, -128, 127}, {"uint16", DType::uint16, 0, 65535},
    {"int16", DType::int16, -32768, 32767}, {"uint4", DType::uint8, 0, 15},   {"int4", DType::int8, -8, 7},
    {"uint2", DType::uint8, 0, 3},          {"int2", DType::int8, -2, 1},
};

const IntegerType* integer_type(std::string_view name) {
  const auto* found = std::ranges::find(kIntegerTypes, name, &IntegerType::name);
  return found == std::end(kIntegerTypes) ? nullptr : found;
}

bool is_type(std::string_view name) { return name.empty() || integer_type(name) || small_float_from_name(name); }

// Elements that lie one after the other and go with the parameters from `parameter` on: each with one of its own
// (stride 1), or all with one (0).
struct Run {
  int64_t begin, count, parameter, stride;
};

// Calls f with each run of an array of this shape.
template <typename F>
void for_each_run(const Shape& x, const Shape& parameters, const ParameterAxis& p, const char* op, F&& f) {
  if (parameters.numel() == 1 && p.block_size == 0) return f(Run{0, x.numel(), 0, 0});
  const int axis = normalize_axis(p.axis, x.ndim(), op);
  int64_t outer = 1, inner = 1;
  for (int d = 0; d < x.ndim(); ++d) (d < axis ? outer : d > axis ? inner : outer) *= d == axis ? 1 : x[d];
  const int64_t size = x[axis], block = p.block_size;
  if (block == 0) {
    check<ShapeError>(parameters == Shape{size}, op, ": parameters ", parameters, " for axis ", p.axis, " of ", x);
    for (int64_t row = 0; row < outer * size; ++row) f(Run{row * inner, inner, row % size, 0});
    return;
  }
  check<ValueError>(block > 0, op, ": blocks of ", block, " elements");
  const int64_t blocks = size == 0 ? 0 : (size - 1) / block + 1;
  Shape expected = x;
  expected[axis] = blocks;
  check<ShapeError>(parameters == expected, op, ": parameters ", parameters, " for blocks of ", block, " along axis ",
                    p.axis, " of ", x, ", expected ", expected);
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t first = b * block, last = std::min(first + block, size), at = (o * blocks + b) * inner;
      if (inner == 1)
        f(Run{o * size + first, last - first, at, 0});
      else
        for (int64_t i = first; i < last; ++i) f(Run{(o * size + i) * inner, inner, at, 1});
    }
}

class LinearOp : public Op {
 public:
  explicit LinearOp(const ParameterAxis& axis) : axis_(axis) {}
  InputCount num_inputs() const override { return {2, 3}; }
  Attributes attributes() const override { return {{"axis", axis_.axis}, {"block_size", axis_.block_size}}; }
  AutocastRule autocast_rule() const override { return AutocastRule::keep; }

  NDArray compute(std::span<const NDArray> inputs) override {
    const NDArray& x = inputs[0];
    NDArray out = has_one_parameter(inputs) ? NDArray::empty_like(x, output_dtype(inputs))
                                            : NDArray(x.shape(), output_dtype(inputs));
    run(inputs, out);
    return out;
  }
  bool compute_into(std::span<const NDArray> inputs, NDArray& out) const override {
    run(inputs, out);
    return true;
  }
  std::vector<Tensor> gradient(const Tensor&, std::span<const Tensor>, const Tensor&) override {
    throw ValueError(str(name(), ": is not differentiable; train with fake_quantize()"));
  }

 protected:
  virtual DType output_dtype(std::span<const NDArray> inputs) const = 0;
  /// Of arrays that lie in the same order, without gaps.
  virtual void convert(const NDArray& x, const NDArray& scale, const std::vector<int32_t>& zero_point,
                       NDArray& out) const = 0;

  template <typename F>
  void for_each_run_of(const NDArray& x, const NDArray& scale, F&& f) const {
    for_each_run(x.shape(), scale.shape(), axis_, std::string(name()).c_str(), std::forward<F>(f));
  }

 private:
  bool has_one_parameter(std::span<const NDArray> inputs) const {
    return inputs[1].numel() == 1 && axis_.block_size == 0;
  }

  void run(std::span<const NDArray> inputs, NDArray& out) const {
    const NDArray &x = inputs[0], scale = inputs[1].contiguous();
    check<DTypeError>(scale.dtype() == DType::float32, name(), ": expects float32 scales, got ", scale.dtype());
    std::vector<int32_t> zero_point;
    if (inputs.size() > 2) {
      check<ShapeError>(inputs[2].numel() == scale.numel(), name(), ": zero points ", inputs[2].shape(), " for scales ",
                        scale.shape());
      zero_point = inputs[2].to_vector<int32_t>();
    }
    zero_point.resize(static_cast<size_t>(scale.numel()));
    // Where one parameter serves all, any order will do, unless x is converted first.
    const bool is_read = x.dtype() == DType::float32 || itemsize(x.dtype()) == 1;
    const bool any_order = has_one_parameter(inputs) && is_read && x.is_dense() && x.strides() == out.strides();
    if (any_order || (x.is_contiguous() && out.is_contiguous())) return convert(x, scale, zero_point, out);
    NDArray ordered(x.shape(), out.dtype());
    convert(x.contiguous(), scale, zero_point, ordered);
    out.copy_from(ordered);
  }

  ParameterAxis axis_;
};

class QuantizeLinear final : public LinearOp {
 public:
  QuantizeLinear(const ParameterAxis& axis, std::string type, bool saturate)
      : LinearOp(axis), type_(std::move(type)), saturate_(saturate) {}
  std::string_view name() const override { return "quantize_linear"; }
  Attributes attributes() const override {
    Attributes a = LinearOp::attributes();
    a.set("type", type_);
    a.set("saturate", saturate_);
    return a;
  }

 private:
  const IntegerType& type_of(DType dtype) const {
    const IntegerType* type = integer_type(type_.empty() ? thimble::name(dtype) : type_);
    check<DTypeError>(type != nullptr, "quantize_linear: cannot give ", dtype);
    return *type;
  }

  DType output_dtype(std::span<const NDArray> inputs) const override {
    if (small_float_from_name(type_)) return DType::float32;
    const DType zero_point = inputs.size() > 2 ? inputs[2].dtype() : DType::uint8;
    const DType dtype = type_of(zero_point).dtype;
    check<DTypeError>(inputs.size() < 3 || zero_point == dtype, "quantize_linear: the zero point of ", dtype,
                      " values is ", zero_point);
    return dtype;
  }

  void convert(const NDArray& given, const NDArray& scale, const std::vector<int32_t>& zero_point,
               NDArray& out) const override {
    check<DTypeError>(given.dtype() == DType::float32 || given.dtype() == DType::int32,
                      "quantize_linear: expects float32 or int32 input, got ", given.dtype());
    const NDArray x = given.to(DType::float32);
    const float *from = x.data<float>(), *scales = scale.data<float>();
    if (const auto format = small_float_from_name(type_)) {
      auto* to = out.data<float>();
      return for_each_run_of(x, scale, [&](const Run& r) {
        for (int64_t i = 0; i < r.count; ++i)
          to[r.begin + i] =
              round_to_small_float(from[r.begin + i] / scales[r.parameter + i * r.stride], *format, saturate_);
      });
    }
    const IntegerType& type = type_of(out.dtype());
    if (type.dtype == DType::uint8) return to_bytes(from, x, scale, zero_point, type, out.data<uint8_t>());
    if (type.dtype == DType::int8) return to_bytes(from, x, scale, zero_point, type, out.data<int8_t>());
    if (type.dtype == DType::int16) return to_integers(from, x, scale, zero_point, type, out.data<int16_t>());
    to_integers(from, x, scale, zero_point, type, out.data<uint16_t>());
  }

  template <typename Q>
  void to_bytes(const float* x, const NDArray& shape, const NDArray& scale, const std::vector<int32_t>& zero_point,
                const IntegerType& type, Q* out) const {
    const auto is_sound = [](float s) { return std::isfinite(s) && s > 0; };
    const float* scales = scale.data<float>();
    if (!std::all_of(scales, scales + scale.numel(), is_sound))
      return to_integers(x, shape, scale, zero_point, type, out);
    for_each_run_of(shape, scale, [&](const Run& r) {
      const int64_t step = r.stride == 0 ? r.count : 1;
      for (int64_t i = 0; i < r.count; i += step) {
        const auto p = static_cast<size_t>(r.parameter + i * r.stride);
        const int32_t z = std::clamp(zero_point[p], type.low, type.high);
        kernels::quantize(x + r.begin + i, step, {scales[p], z, type.low, type.high}, out + r.begin + i);
      }
    });
  }

  template <typename Q>
  void to_integers(const float* x, const NDArray& shape, const NDArray& scale, const std::vector<int32_t>& zero_point,
                   const IntegerType& type, Q* out) const {
    const float* scales = scale.data<float>();
    const double low = type.low, high = type.high;
    for_each_run_of(shape, scale, [&](const Run& r) {
      for (int64_t i = 0; i < r.count; ++i) {
        const auto p = static_cast<size_t>(r.parameter + i * r.stride);
        const double q = double{std::nearbyint(x[r.begin + i] / scales[p])} + zero_point[p];
        out[r.begin + i] = static_cast<Q>(q > low ? std::min(q, high) : low);  // low for NaN, too
      }
    });
  }

  std::string type_;
  bool saturate_;
};

class DequantizeLinear final : public LinearOp {
 public:
  using LinearOp::LinearOp;
  std::string_view name() const override { return "dequantize_linear"; }

 private:
  DType output_dtype(std::span<const NDArray>) const override { return DType::float32; }

  void convert(const NDArray& x, const NDArray& scale, const std::vector<int32_t>& zero_point,
               NDArray& out) const override {
    auto* to = out.data<float>();
    switch (x.dtype()) {
      case DType::uint8:
        return from_integers(x.data<uint8_t>(), x, scale, zero_point, to);
      case DType::int8:
        return from_integers(x.data<int8_t>(), x, scale, zero_point, to);
      case DType::int32:
        return from_integers(x.data<int32_t>(), x, scale, zero_point, to);
      case DType::uint16:
      case DType::int16: {
        const NDArray wide = x.to(DType::int32);
        return from_integers(wide.data<int32_t>(), x, scale, zero_point, to);
      }
      default:
        check<DTypeError>(x.dtype() == DType::float32, "dequantize_linear: cannot take ", x.dtype());
        return from_small_floats(x, scale, to);
    }
  }

  template <typename Q>
  void from_integers(const Q* x, const NDArray& shape, const NDArray& scale, const std::vector<int32_t>& zero_point,
                     float* out) const {
    const float* scales = scale.data<float>();
    for_each_run_of(shape, scale, [&](const Run& r) {
      const int64_t step = r.stride == 0 ? r.count : 1;
      for (int64_t i = 0; i < r.count; i += step) {
        const auto p = static_cast<size_t>(r.parameter + i * r.stride);
        kernels::dequantize(x + r.begin + i, step, scales[p], zero_point[p], out + r.begin + i);
      }
    });
  }

  void from_small_floats(const NDArray& x, const NDArray& scale, float* out) const {
    const float *from = x.data<float>(), *scales = scale.data<float>();
    for_each_run_of(x, scale, [&](const Run& r) {
      for (int64_t i = 0; i < r.count; ++i) out[r.begin + i] = from[r.begin + i] * scales[r.parameter + i * r.stride];
    });
  }
};

ParameterAxis axis_from(const Attributes& a) {
  return {a.get<int64_t>("axis", int64_t{1}), a.get<int64_t>("block_size", int64_t{0})};
}

std::unique_ptr<Op> make_quantize_linear(const Attributes& a) {
  const auto type = a.get<std::string>("type", "");
  check<FormatError>(is_type(type), "quantize_linear: unknown type '", type, "'");
  return std::make_unique<QuantizeLinear>(axis_from(a), type, a.get("saturate", true));
}

const OpRegistration linear_quantization_registrations[] = {
    {"quantize_linear", make_quantize_linear},
    {"dequantize_linear", [](const Attributes& a) { return std::make_unique<DequantizeLinear>(axis_from(a)); }},
};

std::vector<Tensor> operands_of(const Tensor& x, const Tensor& scale, const Tensor& zero_point) {
  return zero_point.defined() ? std::vector<Tensor>{x, scale, zero_point} : std::vector<Tensor>{x, scale};
}

}  // namespace

Tensor quantize_linear(const Tensor& x, const Tensor& scale, const Tensor& zero_point, const ParameterAxis& axis,
                       const std::string& type, bool saturate) {
  check<ValueError>(is_type(type), "quantize_linear: unknown type '", type, "'");
  return thimble::apply(std::make_unique<QuantizeLinear>(axis, type, saturate), operands_of(x, scale, zero_point));
}

Tensor dequantize_linear(const Tensor& x, const Tensor& scale, const Tensor& zero_point, const ParameterAxis& axis) {
  return thimble::apply(std::make_unique<DequantizeLinear>(axis), operands_of(x, scale, zero_point));
}

}  // namespace thimble::quant
