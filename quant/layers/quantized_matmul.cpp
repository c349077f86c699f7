#include <algorithm>
#include <vector>

#include <thimble/core/kernels/int8/int8_matmul.h>
#include <thimble/core/parallel.h>
#include <thimble/nn/inference/view_steps.h>
#include <thimble/quant/layers/quantized_matmul.h>

namespace thimble::quant {

namespace {

constexpr int64_t kProductsWorthAThread = 500'000;
constexpr int64_t kRowsOfPiece = 64;

const nn::LayerRegistration quantized_matmul_registration{"QuantizedMatMul", [](const Attributes& a) {
                                                            return std::make_shared<QuantizedMatMul>(
                                                                TensorQParams::from_attributes(a, "a_"),
                                                                TensorQParams::from_attributes(a, "b_"),
                                                                TensorQParams::from_attributes(a, "output_"));
                                                          }};

Shape batch_of(const Shape& x) {
  Shape batch;
  for (int d = 0; d + 2 < x.ndim(); ++d) batch.push_back(x[d]);
  return batch;
}

// Throws ShapeError.
Shape product_shape(const Shape& a, const Shape& b) {
  Shape shape = broadcast_shapes(batch_of(a), batch_of(b), "QuantizedMatMul");
  shape.push_back(a[a.ndim() - 2]);
  shape.push_back(b.back());
  return shape;
}

// Matrices at these offsets, for each of a batch that theirs is broadcast to.
struct MatricesOf {
  MatricesOf(const nn::ValueInfo& x, const Shape& batch) {
    NDArray array = nn::array_over(static_cast<const void*>(nullptr), x);
    row = array.strides()[array.ndim() - 2];
    column = array.strides().back();
    Shape shape = batch;
    shape.push_back(array.shape(-2));
    shape.push_back(array.shape(-1));
    array = array.broadcast_to(shape);
    for (int64_t i = 0; i < batch.numel(); ++i) {
      int64_t offset = x.offset, rest = i;
      for (int d = batch.ndim() - 1; d >= 0; rest /= batch[d--]) offset += rest % batch[d] * array.strides()[d];
      offsets.push_back(offset);
    }
  }

  int64_t row, column;
  std::vector<int64_t> offsets;
};

// Behind views, [n, heads, rows, columns] lies as [n, rows, heads, columns]: what merges the heads is a view. Else as
// usual.
nn::ValueInfo product_of(std::span<const nn::ValueInfo> inputs) {
  const Shape shape = product_shape(inputs[0].shape, inputs[1].shape);
  if (shape.ndim() != 4 || (inputs[0].strides.empty() && inputs[1].strides.empty()))
    return {.shape = shape, .dtype = DType::uint8};
  const int64_t heads = shape[1], rows = shape[2], columns = shape[3];
  return nn::lying_as(shape, DType::uint8, {rows * heads * columns, columns, heads * columns, 1});
}

bool rows_are_dense(const nn::ValueInfo& x) {
  const NDArray array = nn::array_over(static_cast<const void*>(nullptr), x);
  return array.strides().back() == 1 || x.shape.back() <= 1;
}

class QuantizedMatMulStep : public nn::InferenceStep {
 public:
  QuantizedMatMulStep(std::span<const nn::ValueInfo> inputs, const kernels::Int8Matmul& product)
      : InferenceStep(product_of(inputs)),
        a_(inputs[0], batch_of(output().shape)),
        b_(inputs[1], batch_of(output().shape)),
        dense_(rows_are_dense(output())),
        c_(dense_ ? output() : nn::row_major(output().shape, DType::uint8), batch_of(output().shape)),
        product_(product) {
    const Shape &a = inputs[0].shape, &b = inputs[1].shape, &c = output().shape;
    product_.m = a[a.ndim() - 2];
    product_.k = a.back();
    product_.n = b.back();
    product_.a_row = a_.row;
    product_.a_column = a_.column;
    product_.b_row = b_.row;
    product_.b_column = b_.column;
    product_.out_row = c_.row;
    per_sample_ = c.ndim() > 2 && a.ndim() == c.ndim() && b.ndim() == c.ndim() && a[0] == c[0] && b[0] == c[0];
  }

  bool is_per_sample() const override { return per_sample_; }
  int64_t scratch_bytes() const override { return dense_ ? 0 : output().nbytes(); }

  void run(std::span<const void* const> inputs, void* out, uint8_t* scratch) const override {
    const auto *a = static_cast<const uint8_t*>(inputs[0]), *b = static_cast<const uint8_t*>(inputs[1]);
    uint8_t* c = dense_ ? static_cast<uint8_t*>(out) : scratch;
    const int64_t pieces = (product_.m + kRowsOfPiece - 1) / kRowsOfPiece;
    const int64_t products = std::min(kRowsOfPiece, product_.m) * product_.n * product_.k;
    const int64_t grain = std::max<int64_t>(1, kProductsWorthAThread / std::max<int64_t>(1, products));
    parallel_for(std::ssize(c_.offsets) * pieces, grain, [&](int64_t begin, int64_t end) {
      while (begin < end) {
        const int64_t matrix = begin / pieces, last = std::min((matrix + 1) * pieces, end);
        multiply(a, b, c, static_cast<size_t>(matrix), begin % pieces * kRowsOfPiece,
                 std::min((last - matrix * pieces) * kRowsOfPiece, product_.m));
        begin = last;
      }
    });
    if (!dense_) nn::array_over(out, output()).copy_from(NDArray::borrow(c, output().shape, DType::uint8, nullptr));
  }

 private:
  // Rows [first, last).
  void multiply(const uint8_t* a, const uint8_t* b, uint8_t* c, size_t matrix, int64_t first, int64_t last) const {
    kernels::Int8Matmul product = product_;
    product.m = last - first;
    product.a = a + a_.offsets[matrix] + first * a_.row;
    product.b = b + b_.offsets[matrix];
    product.out = c + c_.offsets[matrix] + first * c_.row;
    kernels::int8_matmul(product);
  }

  MatricesOf a_, b_;
  bool dense_, per_sample_;  // rows that do not lie dense are computed elsewhere
  MatricesOf c_;
  kernels::Int8Matmul product_;
};

}  // namespace

QuantizedMatMul::QuantizedMatMul(const TensorQParams& a, const TensorQParams& b, const TensorQParams& output)
    : a_(a), b_(b), output_(output) {
  a.check("QuantizedMatMul: first input");
  b.check("QuantizedMatMul: second input");
  output.check("QuantizedMatMul: output");
}

void QuantizedMatMul::check_inputs(std::span<const nn::ValueInfo> inputs) const {
  check<ValueError>(inputs.size() == 2, "QuantizedMatMul: takes two inputs, got ", inputs.size());
  for (const nn::ValueInfo& x : inputs)
    check<DTypeError>(x.dtype == DType::uint8, "QuantizedMatMul: expects uint8 inputs, got ", x.dtype);
  const Shape &a = inputs[0].shape, &b = inputs[1].shape;
  check<ShapeError>(a.ndim() >= 2 && b.ndim() >= 2 && a.back() == b[b.ndim() - 2],
                    "QuantizedMatMul: expects [..., m, k] and [..., k, n], got ", a, " and ", b);
  check<ShapeError>(a.back() <= kernels::Int8Matmul::kMaxK, "QuantizedMatMul: sums of ", a.back(),
                    " products can leave int32, expected at most ", kernels::Int8Matmul::kMaxK);
  product_shape(a, b);
}

std::unique_ptr<nn::InferenceStep> QuantizedMatMul::inference_step(std::span<const nn::ValueInfo> inputs) const {
  check_inputs(inputs);
  if (!inputs[0].flattened_image.empty() || !inputs[1].flattened_image.empty()) return nullptr;
  const kernels::Int8Matmul product{
      .a_zero_point = a_.zero_point,
      .b_zero_point = b_.zero_point,
      .multiplier = static_cast<float>(double{a_.scale} * double{b_.scale} / double{output_.scale}),
      .zero_point = output_.zero_point,
      .high = output_.qmax()};
  return std::make_unique<QuantizedMatMulStep>(inputs, product);
}

Attributes QuantizedMatMul::attributes() const {
  Attributes a;
  a_.to_attributes(a, "a_");
  b_.to_attributes(a, "b_");
  output_.to_attributes(a, "output_");
  return a;
}

}  // namespace thimble::quant
