// matmul() of a batch of matrices, read where they lie: attention's products.
#include <algorithm>
#include <vector>

#include <thimble/core/kernels/elementwise/transpose.h>
#include <thimble/core/kernels/gemm/small_gemm.h>
#include <thimble/core/kernels/scratch.h>
#include <thimble/core/ndarray.h>
#include <thimble/core/parallel.h>
#include <thimble/nn/inference/view_steps.h>

namespace thimble::nn {

namespace {

constexpr int64_t kGrain = 100'000;            // multiply-adds worth another thread
constexpr int64_t kRows = 56;                  // of a piece of work
constexpr int64_t kMostRightFloats = 1 << 15;  // that all rows pass over

// Matrices [rows, cols] at these offsets.
struct Matrices {
  explicit Matrices(const NDArray& x)
      : rows(x.shape(-2)), cols(x.shape(-1)), row_stride(x.strides()[x.ndim() - 2]), col_stride(x.strides().back()) {
    const int batch = x.ndim() - 2;
    const int64_t count = rows * cols == 0 ? 0 : x.numel() / (rows * cols);
    for (int64_t i = 0; i < count; ++i) {
      int64_t offset = 0, rest = i;
      for (int d = batch - 1; d >= 0; rest /= x.shape(d--)) offset += rest % x.shape(d) * x.strides()[d];
      offsets.push_back(offset);
    }
  }

  int64_t rows, cols, row_stride, col_stride;
  std::vector<int64_t> offsets;
};

// [n, heads, rows, cols] lies as [n, rows, heads, cols]: what merges the heads is a view.
ValueInfo product_info(const Shape& a, int64_t cols) {
  Shape shape = a;
  shape.back() = cols;
  if (shape.ndim() == 3) return {.shape = shape};
  const int64_t heads = shape[1], rows = shape[2];
  return lying_as(shape, DType::float32, {rows * heads * cols, cols, heads * cols, 1});
}

NDArray without_memory(const ValueInfo& x) { return array_over(static_cast<const void*>(nullptr), x); }

class MatmulStep : public InferenceStep {
 public:
  MatmulStep(const ValueInfo& a, const ValueInfo& b)
      : InferenceStep(product_info(a.shape, b.shape.back())),
        a_(without_memory({.shape = a.shape, .strides = a.strides})),
        b_(without_memory({.shape = b.shape, .strides = b.strides})),
        c_(without_memory(output())),
        a_offset_(a.offset),
        b_offset_(b.offset) {}

  bool is_per_sample() const override { return true; }

  void run(std::span<const void* const> inputs, void* out, uint8_t*) const override {
    const float *a = static_cast<const float*>(inputs[0]) + a_offset_,
                *b = static_cast<const float*>(inputs[1]) + b_offset_;
    const int64_t blocks = (a_.rows + kRows - 1) / kRows, work = std::min(kRows, a_.rows) * a_.cols * b_.cols;
    parallel_for(static_cast<int64_t>(a_.offsets.size()) * blocks, std::max<int64_t>(1, kGrain / work),
                 [&](int64_t begin, int64_t end) {
                   while (begin < end) {
                     const int64_t matrix = begin / blocks, last = std::min((matrix + 1) * blocks, end);
                     multiply(a, b, static_cast<float*>(out), static_cast<size_t>(matrix), begin % blocks * kRows,
                              std::min((last - matrix * blocks) * kRows, a_.rows));
                     begin = last;
                   }
                 });
  }

 private:
  // Rows [first, last), a few columns of b at a time.
  void multiply(const float* a, const float* b, float* c, size_t matrix, int64_t first, int64_t last) const {
    const int64_t k = a_.cols, n = b_.cols;
    const int64_t most = std::max<int64_t>(kMostRightFloats / k / kernels::kGemmPanel, 1) * kernels::kGemmPanel;
    for (int64_t column = 0; column < n; column += most) {
      const int64_t columns = std::min(most, n - column);
      const float* right = b + b_.offsets[matrix] + column * b_.col_stride;
      int64_t ldb = b_.row_stride;
      if (b_.col_stride != 1) {
        auto* packed = kernels::thread_scratch_of<float>(kernels::ScratchUse::right, k * columns);
        kernels::Transpose<float>{right, b_.col_stride, packed, columns}.run(k, columns);
        right = packed;
        ldb = columns;
      }
      kernels::small_gemm(kernels::SmallGemm<float>{.m = last - first,
                                                    .n = columns,
                                                    .k = k,
                                                    .a = a + a_.offsets[matrix] + first * a_.row_stride,
                                                    .a_row = a_.row_stride,
                                                    .a_col = a_.col_stride,
                                                    .b = right,
                                                    .ldb = ldb,
                                                    .c = c + c_.offsets[matrix] + first * c_.row_stride + column,
                                                    .ldc = c_.row_stride});
    }
  }

  Matrices a_, b_, c_;
  int64_t a_offset_, b_offset_;
};

bool is_batch(const ValueInfo& x) {
  return x.dtype == DType::float32 && x.flattened_image.empty() && !x.is_constant && x.shape.numel() > 0 &&
         (x.shape.ndim() == 3 || x.shape.ndim() == 4);
}

std::unique_ptr<InferenceStep> matmul_step(const Attributes& attributes, std::span<const ValueInfo> inputs) {
  if (inputs.size() != 2 || !is_batch(inputs[0]) || !is_batch(inputs[1]) || !attributes.empty()) return nullptr;
  const Shape &a = inputs[0].shape, &b = inputs[1].shape;
  const int ndim = a.ndim();
  bool fits = b.ndim() == ndim && a.back() == b[ndim - 2];
  for (int i = 0; i + 2 < ndim && fits; ++i) fits = a[i] == b[i];
  if (!fits) return nullptr;
  const NDArray right = without_memory({.shape = b, .strides = inputs[1].strides});
  const bool has_dense_lines = right.strides()[ndim - 1] == 1 || right.strides()[ndim - 2] == 1;
  return has_dense_lines ? std::make_unique<MatmulStep>(inputs[0], inputs[1]) : nullptr;
}

const StepRegistration matmul_registration("matmul", matmul_step);

}  // namespace

}  // namespace thimble::nn
