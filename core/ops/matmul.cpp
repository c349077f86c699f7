#include <thimble/core/kernels/elementwise/integer_binary.h>
#include <thimble/core/kernels/gemm/bf16_gemm.h>
#include <thimble/core/kernels/gemm/gemm.h>
#include <thimble/core/kernels/gemm/integer_gemm.h>
#include <thimble/core/ops/cast.h>
#include <thimble/core/ops/channel_sums.h>
#include <thimble/core/ops/float_operands.h>
#include <thimble/core/ops/matmul.h>
#include <thimble/core/ops/reduce.h>
#include <thimble/core/ops/shape.h>
#include <thimble/core/parallel.h>

namespace thimble {

namespace {

using kernels::SumOrder;

// A batch of products this small is divided among threads by product, a larger one within each product.
constexpr int64_t kSmallProductFlops = 4'000'000;

// `x` itself if BLAS can read its last two dimensions as they lie, else a contiguous copy.
NDArray as_blas_layout(const NDArray& x, const char* op) {
  const int rows = x.ndim() - 2, cols = x.ndim() - 1;
  constexpr int64_t limit = (int64_t{1} << 31) - 1;
  check<ShapeError>(x.shape(rows) <= limit && x.shape(cols) <= limit, op, ": operand ", x.shape(),
                    " has a dimension beyond 2^31 - 1");
  const Shape& s = x.strides();
  const bool usable = kernels::is_blas_layout(x.shape(rows), x.shape(cols), s[rows], s[cols]);
  return usable && s[rows] <= limit && s[cols] <= limit ? x : x.contiguous();
}

template <typename T>
kernels::MatrixView<T> matrix_at(const NDArray& x, int64_t offset) {
  const int rows = x.ndim() - 2, cols = x.ndim() - 1;
  return {x.data<T>() + offset, x.shape(rows), x.shape(cols), x.strides()[rows], x.strides()[cols]};
}

// Where in x the matrix lies that takes part in product number `batch` of the broadcast batch dimensions.
int64_t batch_offset(const NDArray& x, const Shape& batch_shape, int64_t batch) {
  int64_t offset = 0;
  for (int d = batch_shape.ndim() - 1, own = x.ndim() - 3; own >= 0; --d, --own) {
    if (x.shape(own) != 1) offset += batch % batch_shape[d] * x.strides()[own];
    batch /= batch_shape[d];
  }
  return offset;
}

// The products of a batch: multiply(number of the product, threads).
template <typename Multiply>
void multiply_batch(const NDArray& a, const NDArray& b, int64_t batches, Multiply&& multiply) {
  const int64_t flops = 2 * a.shape(-2) * b.shape(-1) * a.shape(-1);
  if (batches == 1 || flops > kSmallProductFlops) {
    for (int64_t i = 0; i < batches; ++i) multiply(i, true);
    return;
  }
  parallel_for(batches, std::max<int64_t>(1, kSmallProductFlops / 8 / (flops + 1)), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) multiply(i, false);
  });
}

template <typename T>
void multiply_batch(const NDArray& a, const NDArray& b, const Shape& batch_shape, T* out, SumOrder order) {
  const int64_t elements = a.shape(-2) * b.shape(-1);
  multiply_batch(a, b, batch_shape.numel(), [&](int64_t batch, bool threads) {
    (threads ? kernels::gemm<T> : kernels::gemm_serial<T>)(matrix_at<T>(a, batch_offset(a, batch_shape, batch)),
                                                           matrix_at<T>(b, batch_offset(b, batch_shape, batch)),
                                                           out + batch * elements, kernels::Epilogue<T>{}, order);
  });
}

kernels::Bf16Matrix bf16_matrix_at(const NDArray& x, int64_t offset) {
  const int rows = x.ndim() - 2, cols = x.ndim() - 1;
  return {static_cast<const char*>(x.raw()) + offset * static_cast<int64_t>(itemsize(x.dtype())),
          x.dtype() == DType::float32,
          x.shape(rows),
          x.shape(cols),
          x.strides()[rows],
          x.strides()[cols]};
}

kernels::Bf16Result bf16_result_at(NDArray& out, int64_t offset) {
  return {static_cast<char*>(out.raw()) + offset * static_cast<int64_t>(itemsize(out.dtype())),
          out.dtype() == DType::float32};
}

void multiply_bf16_batch(const NDArray& a, const NDArray& b, const Shape& batch_shape, NDArray& out) {
  const int64_t elements = a.shape(-2) * b.shape(-1);
  multiply_batch(a, b, batch_shape.numel(), [&](int64_t batch, bool threads) {
    kernels::bf16_gemm(bf16_matrix_at(a, batch_offset(a, batch_shape, batch)),
                       bf16_matrix_at(b, batch_offset(b, batch_shape, batch)), bf16_result_at(out, batch * elements),
                       threads);
  });
}

// Merges all dimensions but the last into one.
Shape flat_rows(const Shape& shape) {
  int64_t rows = 1;
  for (int d = 0; d + 1 < shape.ndim(); ++d) rows *= shape[d];
  return {rows, shape.back()};
}

Tensor reshaped(const Tensor& x, const Shape& shape) { return x.shape() == shape ? x : reshape(x, shape); }

class MatMul final : public Op {
 public:
  static constexpr const char *kInShards = "sum_in_shards", *kFloat32 = "float32_result";

  /// Of operands of bfloat16, or one of bfloat16 and one of float32, the product is bfloat16, or float32 if so told.
  explicit MatMul(SumOrder order, bool float32_result = false) : order_(order), float32_result_(float32_result) {}

  std::string_view name() const override { return "matmul"; }
  InputCount num_inputs() const override { return {2, 2}; }
  Attributes attributes() const override {
    Attributes a;
    if (order_ == SumOrder::in_shards) a.set(kInShards, true);
    if (float32_result_) a.set(kFloat32, true);
    return a;
  }
  AutocastRule autocast_rule() const override { return AutocastRule::bfloat16; }

  NDArray compute(std::span<const NDArray> inputs) override {
    if (kernels::is_integer(inputs[0].dtype()) && inputs[1].dtype() == inputs[0].dtype())
      return integer_product(inputs);
    const bool mixed = is_mixed_precision(inputs) || is_mixed_precision(inputs.subspan(1));
    mixed ? check_mixed_dtypes(inputs, "matmul") : check_same_float_dtype(inputs, "matmul");
    const Shape &sa = inputs[0].shape(), &sb = inputs[1].shape();
    check_have_dimensions(sa, sb);
    const NDArray a = as_blas_layout(sa.ndim() == 1 ? inputs[0].unsqueeze(0) : inputs[0], "matmul");
    const NDArray b = as_blas_layout(sb.ndim() == 1 ? inputs[1].unsqueeze(1) : inputs[1], "matmul");
    const Shape batch = checked_batch(a, b);
    const bool one_tall_product = b.ndim() == 2 && a.ndim() > 2 && a.is_contiguous();  // instead of many
    const NDArray rows = one_tall_product ? a.reshape(flat_rows(a.shape())) : a;
    if (mixed) return mixed_product(rows, b, one_tall_product ? Shape{} : batch, output_shape(batch, sa, sb));
    NDArray out(output_shape(batch, sa, sb), a.dtype());
    dispatch_float(a.dtype(), "matmul", [&](auto tag) {
      using T = typename decltype(tag)::type;
      multiply_batch<T>(rows, b, one_tall_product ? Shape{} : batch, out.data<T>(), order_);
    });
    return out;
  }

  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    const Shape &sa = inputs[0].shape(), &sb = inputs[1].shape();
    const Shape a_matrix = sa.ndim() == 1 ? Shape{1, sa[0]} : sa, b_matrix = sb.ndim() == 1 ? Shape{sb[0], 1} : sb;
    // With one b for the whole batch, all of a's rows count as one matrix, and no gradient needs summing afterwards.
    const bool flat = b_matrix.ndim() == 2;
    const Shape a_rows = flat ? flat_rows(a_matrix) : a_matrix;
    const Tensor g = reshaped(out_grad, flat ? Shape{a_rows[0], b_matrix[1]} : matrix_shape(out_grad.shape(), sa, sb));
    std::vector<Tensor> grads(2);
    if (inputs[0].requires_grad()) {
      const Tensor b = reshaped(inputs[1], b_matrix);
      grads[0] =
          cast(reshaped(summed_product(g, transpose(b, -2, -1), a_rows, inputs[0].dtype()), sa), inputs[0].dtype());
    }
    if (inputs[1].requires_grad()) {
      const Tensor a = reshaped(inputs[0], a_rows);
      const Tensor grad = flat ? sum_over_batch(a, g, inputs[1].dtype())
                               : summed_product(transpose(a, -2, -1), g, b_matrix, inputs[1].dtype());
      grads[1] = cast(reshaped(grad, sb), inputs[1].dtype());
    }
    return grads;
  }

  // a b, as `dtype` if it is mixed: only where an operand is bfloat16 that says something.
  static Tensor product(const Tensor& a, const Tensor& b, DType dtype) {
    const bool mixed = a.dtype() == DType::bfloat16 || b.dtype() == DType::bfloat16;
    return apply(std::make_unique<MatMul>(SumOrder::in_turn, mixed && dtype == DType::float32), {a, b});
  }

  // x^T g, whose rows are the samples of a batch.
  static Tensor sum_over_batch(const Tensor& x, const Tensor& g, DType dtype) {
    const bool mixed = x.dtype() == DType::bfloat16 || g.dtype() == DType::bfloat16;
    return apply(std::make_unique<MatMul>(SumOrder::in_shards, mixed && dtype == DType::float32),
                 {transpose(x, 0, 1), g});
  }

 private:
  static void check_have_dimensions(const Shape& a, const Shape& b) {
    check<ShapeError>(a.ndim() > 0 && b.ndim() > 0, "matmul: operands ", a, " and ", b, " must have dimensions");
  }

  // Of matrices, or batches of these.
  static Shape checked_batch(const NDArray& a, const NDArray& b) {
    check<ShapeError>(a.shape(-1) == b.shape(-2), "matmul: inner dimensions of ", a.shape(), " and ", b.shape(),
                      " differ");
    return broadcast_shapes(batch_shape(a), batch_shape(b), "matmul");
  }

  // Modulo 2^bits.
  static NDArray integer_product(std::span<const NDArray> inputs) {
    const Shape &sa = inputs[0].shape(), &sb = inputs[1].shape();
    check_have_dimensions(sa, sb);
    const NDArray left = inputs[0].to(DType::int64), right = inputs[1].to(DType::int64);
    const NDArray a = sa.ndim() == 1 ? left.unsqueeze(0) : left, b = sb.ndim() == 1 ? right.unsqueeze(1) : right;
    const Shape batch = checked_batch(a, b);
    NDArray out(output_shape(batch, sa, sb), DType::int64);
    const int64_t elements = a.shape(-2) * b.shape(-1);
    for (int64_t i = 0; i < batch.numel(); ++i)
      kernels::integer_gemm(matrix_at<int64_t>(a, batch_offset(a, batch, i)),
                            matrix_at<int64_t>(b, batch_offset(b, batch, i)), out.data<int64_t>() + i * elements);
    return out.to(inputs[0].dtype());
  }

  static Shape batch_shape(const NDArray& x) {
    return Shape(std::span(x.shape().begin(), static_cast<size_t>(x.ndim() - 2)));
  }

  static Shape output_shape(const Shape& batch, const Shape& a, const Shape& b) {
    Shape out = batch;
    if (a.ndim() > 1) out.push_back(a[a.ndim() - 2]);
    if (b.ndim() > 1) out.push_back(b.back());
    return out;
  }

  // The output's shape with the dimensions that a vector operand left out.
  static Shape matrix_shape(Shape out, const Shape& a, const Shape& b) {
    if (b.ndim() == 1) out.push_back(1);
    if (a.ndim() == 1) out.insert(out.ndim() - 1, 1);
    return out;
  }

  // The product, summed to `shape`: in float32, if that is not the product's own.
  static Tensor summed_product(const Tensor& a, const Tensor& b, const Shape& shape, DType dtype) {
    const Tensor own = product(a, b, dtype);
    if (own.shape() == shape || own.dtype() != DType::bfloat16) return sum_to(own, shape);
    return cast(sum_to(product(a, b, DType::float32), shape), dtype);
  }

  NDArray mixed_product(const NDArray& a, const NDArray& b, const Shape& batch, const Shape& shape) const {
    const bool in_shards = order_ == SumOrder::in_shards;
    check<ShapeError>(!in_shards || batch.numel() == 1, "matmul: a sum in shards is of one product, got ",
                      batch.numel());
    NDArray out(shape, in_shards || float32_result_ ? DType::float32 : DType::bfloat16);
    if (in_shards)
      kernels::bf16_sum_over_batch(bf16_matrix_at(a, 0).transposed(), bf16_matrix_at(b, 0), out.data<float>());
    else
      multiply_bf16_batch(a, b, batch, out);
    return float32_result_ ? out : out.to(DType::bfloat16);
  }

  SumOrder order_;
  bool float32_result_;
};

class Linear final : public Op {
 public:
  std::string_view name() const override { return "linear"; }
  InputCount num_inputs() const override { return {2, 3}; }

  AutocastRule autocast_rule() const override { return AutocastRule::first_bfloat16; }

  NDArray compute(std::span<const NDArray> inputs) override {
    const bool mixed = is_mixed_precision(inputs);
    mixed ? check_mixed_dtypes(inputs, "linear") : check_same_float_dtype(inputs, "linear");
    const NDArray &x = inputs[0], &weight = inputs[1];
    check<ShapeError>(weight.ndim() == 2, "linear: weight must be [out, in], got ", weight.shape());
    check<ShapeError>(x.ndim() > 0 && x.shape(-1) == weight.shape(1), "linear: weight ", weight.shape(), " expects ",
                      weight.shape(1), " input features, got input ", x.shape());
    const bool has_bias = inputs.size() > 2;
    check<ShapeError>(!has_bias || inputs[2].shape() == Shape{weight.shape(0)}, "linear: bias must be [",
                      weight.shape(0), "], got ", has_bias ? inputs[2].shape() : Shape());
    Shape out_shape = x.shape();
    out_shape.back() = weight.shape(0);
    NDArray out(out_shape, x.dtype());
    const NDArray rows = as_blas_layout(x.reshape(flat_rows(x.shape())), "linear");
    const NDArray columns = as_blas_layout(weight.transpose(0, 1), "linear");
    const NDArray bias = has_bias ? inputs[2].contiguous() : NDArray();
    if (mixed) {
      const NDArray wide_bias = has_bias ? bias.to(DType::float32) : NDArray();
      kernels::Bf16Result result = bf16_result_at(out, 0);
      result.bias = has_bias ? wide_bias.data<float>() : nullptr;
      kernels::bf16_gemm(bf16_matrix_at(rows, 0), bf16_matrix_at(columns, 0), result);
      return out;
    }
    dispatch_float(x.dtype(), "linear", [&](auto tag) {
      using T = typename decltype(tag)::type;
      kernels::gemm<T>(matrix_at<T>(rows, 0), matrix_at<T>(columns, 0), out.data<T>(),
                       kernels::bias_epilogue(has_bias ? bias.data<T>() : nullptr));
    });
    return out;
  }

  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    const Tensor &x = inputs[0], &weight = inputs[1];
    const Tensor g = reshaped(out_grad, flat_rows(out_grad.shape()));
    std::vector<Tensor> grads(inputs.size());
    if (x.requires_grad()) grads[0] = reshaped(MatMul::product(g, weight, x.dtype()), x.shape());
    if (weight.requires_grad()) grads[1] = MatMul::sum_over_batch(g, reshaped(x, flat_rows(x.shape())), weight.dtype());
    if (inputs.size() > 2 && inputs[2].requires_grad()) grads[2] = bias_gradient(g, inputs[2]);
    return grads;
  }
};

const OpRegistration matmul_registration{
    "matmul", [](const Attributes& a) {
      return std::make_unique<MatMul>(a.get(MatMul::kInShards, false) ? SumOrder::in_shards : SumOrder::in_turn,
                                      a.get(MatMul::kFloat32, false));
    }};
const OpRegistration linear_registration{"linear", [](const Attributes&) { return std::make_unique<Linear>(); }};

}  // namespace

Tensor matmul(const Tensor& a, const Tensor& b) { return apply(std::make_unique<MatMul>(SumOrder::in_turn), {a, b}); }

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  if (!bias.defined()) return apply(std::make_unique<Linear>(), {x, weight});
  return apply(std::make_unique<Linear>(), {x, weight, bias});
}

}  // namespace thimble
