#include <thimble/core/kernels/gemm/gemm.h>
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

template <typename T>
void multiply_batch(const NDArray& a, const NDArray& b, const Shape& batch_shape, T* out, SumOrder order) {
  const int64_t m = a.shape(-2), n = b.shape(-1), k = a.shape(-1), batches = batch_shape.numel();
  auto multiply = [&](int64_t batch, auto&& gemm) {
    gemm(matrix_at<T>(a, batch_offset(a, batch_shape, batch)), matrix_at<T>(b, batch_offset(b, batch_shape, batch)),
         out + batch * m * n, kernels::Epilogue<T>{}, order);
  };
  const int64_t flops = 2 * m * n * k;
  if (batches == 1 || flops > kSmallProductFlops) {
    for (int64_t i = 0; i < batches; ++i) multiply(i, kernels::gemm<T>);
    return;
  }
  parallel_for(batches, std::max<int64_t>(1, kSmallProductFlops / 8 / (flops + 1)), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) multiply(i, kernels::gemm_serial<T>);
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
  static constexpr const char* kInShards = "sum_in_shards";

  explicit MatMul(SumOrder order) : order_(order) {}

  std::string_view name() const override { return "matmul"; }
  InputCount num_inputs() const override { return {2, 2}; }
  Attributes attributes() const override {
    return order_ == SumOrder::in_shards ? Attributes{{kInShards, true}} : Attributes{};
  }

  NDArray compute(std::span<const NDArray> inputs) override {
    check_same_float_dtype(inputs, "matmul");
    const Shape &sa = inputs[0].shape(), &sb = inputs[1].shape();
    check<ShapeError>(sa.ndim() > 0 && sb.ndim() > 0, "matmul: operands ", sa, " and ", sb, " must have dimensions");
    const NDArray a = as_blas_layout(sa.ndim() == 1 ? inputs[0].unsqueeze(0) : inputs[0], "matmul");
    const NDArray b = as_blas_layout(sb.ndim() == 1 ? inputs[1].unsqueeze(1) : inputs[1], "matmul");
    check<ShapeError>(a.shape(-1) == b.shape(-2), "matmul: inner dimensions of ", sa, " and ", sb, " differ");
    const Shape batch = broadcast_shapes(batch_shape(a), batch_shape(b), "matmul");
    NDArray out(output_shape(batch, sa, sb), a.dtype());
    dispatch_float(a.dtype(), "matmul", [&](auto tag) {
      using T = typename decltype(tag)::type;
      if (b.ndim() == 2 && a.ndim() > 2 && a.is_contiguous())  // one tall product instead of many
        kernels::gemm<T>(matrix_at<T>(a.reshape(flat_rows(a.shape())), 0), matrix_at<T>(b, 0), out.data<T>(), {},
                         order_);
      else
        multiply_batch<T>(a, b, batch, out.data<T>(), order_);
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
      grads[0] = reshaped(sum_to(matmul(g, transpose(b, -2, -1)), a_rows), sa);
    }
    if (inputs[1].requires_grad()) {
      const Tensor a = reshaped(inputs[0], a_rows);
      grads[1] = reshaped(sum_to(flat ? sum_over_batch(a, g) : matmul(transpose(a, -2, -1), g), b_matrix), sb);
    }
    return grads;
  }

  // x^T g, whose rows are the samples of a batch.
  static Tensor sum_over_batch(const Tensor& x, const Tensor& g) {
    return apply(std::make_unique<MatMul>(SumOrder::in_shards), {transpose(x, 0, 1), g});
  }

 private:
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

  SumOrder order_;
};

class Linear final : public Op {
 public:
  std::string_view name() const override { return "linear"; }
  InputCount num_inputs() const override { return {2, 3}; }

  NDArray compute(std::span<const NDArray> inputs) override {
    check_same_float_dtype(inputs, "linear");
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
    if (x.requires_grad()) grads[0] = reshaped(matmul(g, weight), x.shape());
    if (weight.requires_grad()) grads[1] = MatMul::sum_over_batch(g, reshaped(x, flat_rows(x.shape())));
    if (inputs.size() > 2 && inputs[2].requires_grad()) grads[2] = sum_to(g, inputs[2].shape());
    return grads;
  }
};

const OpRegistration matmul_registration{
    "matmul", [](const Attributes& a) {
      return std::make_unique<MatMul>(a.get(MatMul::kInShards, false) ? SumOrder::in_shards : SumOrder::in_turn);
    }};
const OpRegistration linear_registration{"linear", [](const Attributes&) { return std::make_unique<Linear>(); }};

}  // namespace

Tensor matmul(const Tensor& a, const Tensor& b) { return apply(std::make_unique<MatMul>(SumOrder::in_turn), {a, b}); }

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  if (!bias.defined()) return apply(std::make_unique<Linear>(), {x, weight});
  return apply(std::make_unique<Linear>(), {x, weight, bias});
}

}  // namespace thimble
