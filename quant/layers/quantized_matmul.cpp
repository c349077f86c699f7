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

// Without the last two.
Shape batch_of(const Shape& x) {
  Shape batch;
  for (int d = 0; d + 2 < x.ndim(); ++d) batch.push_back(x[d]);
  return batch;
}

// As if both were matrices. Throws ShapeError.
Shape product_shape(const Shape& a, const Shape& b) {
  Shape shape = broadcast_shapes(batch_of(a), batch_of(b), "QuantizedMatMul");
  shape.push_back(a.ndim() == 1 ? 1 : a[a.ndim() - 2]);
  shape.push_back(b.ndim() == 1 ? 1 : b.back());
  return shape;
}

// Without the dimension that an operand does not have.
Shape result_shape(const Shape& a, const Shape& b) {
  const Shape product = product_shape(a, b);
  Shape shape = batch_of(product);
  if (a.ndim() > 1) shape.push_back(product[product.ndim() - 2]);
  if (b.ndim() > 1) shape.push_back(product.back());
  return shape;
}

NDArray without_memory(const nn::ValueInfo& x) { return nn::array_over(static_cast<const void*>(nullptr), x); }

// One dimension is a row on the left, a column on the right.
NDArray matrices(const nn::ValueInfo& x, bool left) {
  const NDArray array = without_memory(x);
  if (array.ndim() != 1) return array;
  const NDArray row = array.broadcast_to({1, array.shape(0)});
  return left ? row : row.transpose(0, 1);
}

// Where matrices lie, for each of a batch that theirs is broadcast to.
struct MatricesOf {
  MatricesOf(const NDArray& x, int64_t offset, const Shape& batch)
      : row(x.strides()[x.ndim() - 2]), column(x.strides().back()) {
    Shape shape = batch;
    shape.push_back(x.shape(-2));
    shape.push_back(x.shape(-1));
    const Shape strides = x.broadcast_to(shape).strides();
    for (int64_t i = 0; i < batch.numel(); ++i) {
      offsets.push_back(offset);
      for (int64_t d = batch.ndim() - 1, rest = i; d >= 0; rest /= batch[static_cast<int>(d--)])
        offsets.back() += rest % batch[static_cast<int>(d)] * strides[static_cast<int>(d)];
    }
  }

  int64_t row, column;
  std::vector<int64_t> offsets;
};

// Behind views, [n, heads, rows, columns] lies as [n, rows, heads, columns]: what merges the heads is a view. Else as
// usual.
nn::ValueInfo product_of(std::span<const nn::ValueInfo> inputs) {
  const Shape shape = result_shape(inputs[0].shape, inputs[1].shape);
  const bool of_vectors = inputs[0].shape.ndim() == 1 || inputs[1].shape.ndim() == 1;
  if (shape.ndim() != 4 || of_vectors || (inputs[0].strides.empty() && inputs[1].strides.empty()))
    return {.shape = shape, .dtype = DType::uint8};
  const int64_t heads = shape[1], rows = shape[2], columns = shape[3];
  return nn::lying_as(shape, DType::uint8, {rows * heads * columns, columns, heads * columns, 1});
}

bool rows_are_dense(const nn::ValueInfo& x) {
  return !x.is_image() || !x.strides.empty() || without_memory(x).strides().back() == 1;
}

class QuantizedMatMulStep : public nn::InferenceStep {
 public:
  QuantizedMatMulStep(std::span<const nn::ValueInfo> inputs, const kernels::Int8Matmul& product)
      : QuantizedMatMulStep(inputs, product, product_shape(inputs[0].shape, inputs[1].shape)) {}

  bool is_per_sample() const override { return per_sample_; }
  int64_t scratch_bytes() const override { return in_place_ ? 0 : output().nbytes(); }

  void run(std::span<const void* const> inputs, void* out, uint8_t* scratch) const override {
    const auto *a = static_cast<const uint8_t*>(inputs[0]), *b = static_cast<const uint8_t*>(inputs[1]);
    uint8_t* c = in_place_ ? static_cast<uint8_t*>(out) : scratch;
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
    if (!in_place_) nn::array_over(out, output()).copy_from(NDArray::borrow(c, output().shape, DType::uint8, nullptr));
  }

 private:
  QuantizedMatMulStep(std::span<const nn::ValueInfo> inputs, const kernels::Int8Matmul& product, const Shape& c)
      : InferenceStep(product_of(inputs)),
        a_(matrices(inputs[0], true), inputs[0].offset, batch_of(c)),
        b_(matrices(inputs[1], false), inputs[1].offset, batch_of(c)),
        in_place_(rows_are_dense(output())),
        c_(in_place_ && !output().strides.empty() ? without_memory(output())
                                                  : without_memory(nn::row_major(c, DType::uint8)),
           0, batch_of(c)),
        product_(product) {
    const Shape &a = inputs[0].shape, &b = inputs[1].shape, &y = output().shape;
    product_.m = c[c.ndim() - 2];
    product_.k = a.back();
    product_.n = c.back();
    product_.a_row = a_.row;
    product_.a_column = a_.column;
    product_.b_row = b_.row;
    product_.b_column = b_.column;
    product_.out_row = c_.row;
    per_sample_ = c.ndim() > 2 && a.ndim() == y.ndim() && b.ndim() == y.ndim() && a[0] == y[0] && b[0] == y[0];
  }

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
  bool in_place_, per_sample_;  // rows that do not lie dense are computed elsewhere
  MatricesOf c_;
  kernels::Int8Matmul product_;
};

}  // namespace

QuantizedMatMul::QuantizedMatMul(const TensorQParams& a, const TensorQParams& b, const TensorQParams& output)
    : a_(a), b_(b), output_(output) {
  a.check("QuantizedMatMul: first input");
  b.check("QuantizedMatMul: second input");
  output.check("QuantizedMatMul: output");
  checked_multiplier("QuantizedMatMul", double{a.scale} * double{b.scale} / double{output.scale});
}

void QuantizedMatMul::check_inputs(std::span<const nn::ValueInfo> inputs) const {
  check<ValueError>(inputs.size() == 2, "QuantizedMatMul: takes two inputs, got ", inputs.size());
  for (const nn::ValueInfo& x : inputs)
    check<DTypeError>(x.dtype == DType::uint8, "QuantizedMatMul: expects uint8 inputs, got ", x.dtype);
  const Shape &a = inputs[0].shape, &b = inputs[1].shape;
  const bool fits = a.ndim() >= 1 && b.ndim() >= 1 && a.back() == b[std::max(b.ndim() - 2, 0)];
  check<ShapeError>(fits, "QuantizedMatMul: expects [..., m, k] and [..., k, n], got ", a, " and ", b);
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
