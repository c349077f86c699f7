#include <algorithm>
#include <cmath>

#include <thimble/core/kernels/training/fake_quantize.h>
#include <thimble/quant/blocks.h>
#include <thimble/quant/qat/fake_quantize_op.h>

namespace thimble::quant {

namespace {

// x and values of its shape, as they lie in memory: where there is one scale for all, any order will do.
NDArray in_order_of(const NDArray& values, const NDArray& x) {
  if (values.strides() == x.strides() && values.is_dense()) return values;
  NDArray ordered = NDArray::empty_like(x, values.dtype());
  ordered.copy_from(values);
  return ordered;
}

class FakeQuantizeOp final : public Op {
 public:
  FakeQuantizeOp(const QuantizationSpec& spec, std::vector<int32_t> zero_point, double grad_factor)
      : spec_(spec), zero_point_(std::move(zero_point)), grad_factor_(grad_factor) {}

  std::string_view name() const override { return "fake_quantize"; }
  InputCount num_inputs() const override { return {2, 2}; }
  Attributes attributes() const override {
    Attributes a = spec_.to_attributes();
    a.set("zero_point", std::vector<int64_t>(zero_point_.begin(), zero_point_.end()));
    a.set("grad_factor", grad_factor_);
    return a;
  }

  NDArray compute(std::span<const NDArray> inputs) override {
    const Blocks blocks = checked(inputs);
    const NDArray x = in_memory_order(inputs[0]);
    NDArray out = NDArray::empty_like(x, x.dtype());
    dispatch_float(x.dtype(), name(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      for_each_row<T>(blocks, inputs[1], [&](int64_t row, const kernels::FakeQuantizeArgs<T>& args) {
        const int64_t at = blocks.begin(row);
        kernels::fake_quantize(x.data<T>() + at, blocks.size(row), args, out.data<T>() + at);
      });
    });
    return out;
  }

  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    check<ValueError>(!grad_enabled(), name(), ": its gradient cannot be differentiated (create_graph)");
    const Blocks blocks(inputs[0].shape(), spec_, "fake_quantize");
    const NDArray x = in_memory_order(inputs[0].data()), g = in_order_of(out_grad.data(), x);
    const NDArray& scale = inputs[1].data();
    NDArray x_grad = NDArray::empty_like(x, x.dtype());
    Tensor scale_grad;
    dispatch_float(x.dtype(), name(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      if (!inputs[1].requires_grad())
        return for_each_row<T>(blocks, scale, [&](int64_t row, const kernels::FakeQuantizeArgs<T>& args) {
          const int64_t at = blocks.begin(row);
          kernels::fake_quantize_backward(x.data<T>() + at, g.data<T>() + at, blocks.size(row), args,
                                          x_grad.data<T>() + at);
        });
      std::vector<double> sums(static_cast<size_t>(blocks.channels));
      for_each_row<T>(blocks, scale, [&](int64_t row, const kernels::FakeQuantizeArgs<T>& args) {
        const int64_t at = blocks.begin(row);
        sums[blocks.channel(row)] += kernels::learned_fake_quantize_backward(
            x.data<T>() + at, g.data<T>() + at, blocks.size(row), args, x_grad.data<T>() + at);
      });
      for (double& sum : sums) sum *= grad_factor_;
      scale_grad = NDArray::from_vector(sums, scale.shape()).to(scale.dtype());
    });
    return {x_grad, scale_grad};
  }

 private:
  Blocks checked(std::span<const NDArray> inputs) const {
    const Shape& x = inputs[0].shape();
    const Blocks blocks(x, spec_, "fake_quantize");
    const auto count = static_cast<int64_t>(zero_point_.size());
    check<DTypeError>(inputs[0].dtype() == inputs[1].dtype(), "fake_quantize: x is ", inputs[0].dtype(),
                      ", its scales are ", inputs[1].dtype());
    check<ShapeError>(inputs[1].shape() == Shape{blocks.channels} && count == blocks.channels, "fake_quantize: scales ",
                      inputs[1].shape(), " and ", count, " zero points for ", blocks.channels, " channels of ", x);
    for (const int32_t zero_point : zero_point_)
      check<ValueError>(zero_point >= spec_.qmin() && zero_point <= spec_.qmax(), "fake_quantize: zero point ",
                        zero_point, " is not in [", spec_.qmin(), ", ", spec_.qmax(), "]");
    for (const double scale : inputs[1].to_vector<double>())
      check<ValueError>(scale > 0 && std::isfinite(scale), "fake_quantize: scale ", scale,
                        " is not positive and finite");
    return blocks;
  }

  NDArray in_memory_order(const NDArray& x) const { return !spec_.axis && x.is_dense() ? x : x.contiguous(); }

  // f(row, what its elements are quantized with)
  template <typename T, typename F>
  void for_each_row(const Blocks& blocks, const NDArray& scale, F&& f) const {
    const NDArray dense = scale.contiguous();
    for (int64_t row = 0; row < blocks.rows(); ++row) {
      const size_t channel = blocks.channel(row);
      f(row, kernels::FakeQuantizeArgs<T>{dense.data<T>()[channel], static_cast<T>(spec_.qmin() - zero_point_[channel]),
                                          static_cast<T>(spec_.qmax() - zero_point_[channel])});
    }
  }

  QuantizationSpec spec_;
  std::vector<int32_t> zero_point_;
  double grad_factor_;
};

std::unique_ptr<Op> make_fake_quantize(const Attributes& a) {
  const auto zero_points = a.get<std::vector<int64_t>>("zero_point");
  check<FormatError>(std::ranges::all_of(zero_points, [](int64_t z) { return z >= -128 && z <= 255; }),
                     "fake_quantize: a zero point is not in [-128, 255]");
  return std::make_unique<FakeQuantizeOp>(QuantizationSpec::from_attributes(a),
                                          std::vector<int32_t>(zero_points.begin(), zero_points.end()),
                                          a.get<double>("grad_factor"));
}

const OpRegistration fake_quantize_op_registration{"fake_quantize", make_fake_quantize};

}  // namespace

Tensor fake_quantize(const Tensor& x, const Tensor& scale, const std::vector<int32_t>& zero_point,
                     const QuantizationSpec& spec, double grad_factor) {
  check_bits(spec.bits, "fake_quantize");
  return apply(std::make_unique<FakeQuantizeOp>(spec, zero_point, grad_factor), {x, scale});
}

Tensor fake_quantize(const Tensor& x, const QParams& p) {
  return fake_quantize(x, NDArray::from_vector(p.scale).to(x.dtype()), p.zero_point, p.spec);
}

int32_t lsq_positive_steps(const QuantizationSpec& spec, int32_t zero_point) {
  return std::max(spec.qmax() - zero_point, 1);
}

double lsq_grad_factor(int64_t elements, int32_t positive_steps) {
  return 1 / std::sqrt(static_cast<double>(std::max<int64_t>(elements, 1)) * positive_steps);
}

std::vector<float> lsq_initial_scale(const NDArray& x, const QuantizationSpec& spec, int32_t positive_steps) {
  check_bits(spec.bits, "lsq_initial_scale");
  check<ValueError>(x.numel() > 0, "lsq_initial_scale: there are no values");
  const Blocks blocks(x.shape(), spec, "lsq_initial_scale");
  const NDArray values = x.to(DType::float32).contiguous();
  std::vector<double> sums(static_cast<size_t>(blocks.channels));
  for (int64_t row = 0; row < blocks.rows(); ++row)
    for (int64_t i = 0; i < blocks.size(row); ++i)
      sums[blocks.channel(row)] += std::abs(double{values.data<float>()[blocks.begin(row) + i]});
  std::vector<float> scales;
  for (size_t c = 0; c < sums.size(); ++c) {
    check<ValueError>(std::isfinite(sums[c]), "lsq_initial_scale: the values hold NaN or infinity");
    const auto elements = static_cast<double>(blocks.outer * blocks.size(static_cast<int64_t>(c)));
    const auto scale = static_cast<float>(2 * sums[c] / elements / std::sqrt(static_cast<double>(positive_steps)));
    scales.push_back(sums[c] == 0 ? 1 : std::max(scale, std::numeric_limits<float>::min()));
  }
  return scales;
}

}  // namespace thimble::quant
