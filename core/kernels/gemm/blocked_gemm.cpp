// The operands are copied block by block to where the register tiles of small_gemm.h read them fastest: the right one
// in panels of columns, which fill vectors, the left one's rows without distances that caches dislike.
//
// Either may be the right one, since (a b)^T = b^T a^T has the same sums: a few rows times a large matrix that lies
// transposed, as a layer's weights do, make a better product if the rows are the panels.
#include <algorithm>
#include <bit>
#include <utility>

#include <thimble/core/kernels/elementwise/transpose.h>
#include <thimble/core/kernels/gemm/blocked_gemm.h>
#include <thimble/core/kernels/gemm/gemv.h>
#include <thimble/core/kernels/gemm/panels.h>
#include <thimble/core/kernels/gemm/small_gemm.h>
#include <thimble/core/kernels/reduce/shards.h>
#include <thimble/core/kernels/rounding.h>
#include <thimble/core/kernels/scratch.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {

using Matrix = MatrixView<float>;

constexpr int64_t kGrain = 250'000;  // multiply-adds worth another thread
constexpr int64_t kDepth = 512;      // terms that are added up in registers, so that a panel of them stays in cache
constexpr int64_t kRunningSum = 64 * kDepth;  // terms of a running sum of those: one of more would lose digits
constexpr int64_t kWidth = 512;               // columns that are packed at a time
constexpr int64_t kHeight = 84;               // rows of the left operand that are packed at a time
constexpr int64_t kTall = 14;                 // the highest tile
constexpr int64_t kShardDepth = 64;           // terms of a shard that is added up in registers
// Rows so far apart would share the first level cache's sets.
constexpr int64_t kAwkwardStride = 512;

// One of the strides is 1: those of a single row, or column, may be anything.
Matrix with_a_dense_axis(Matrix m) {
  if (m.cols == 1)
    m.col_stride = 1;
  else if (m.rows == 1 && m.col_stride != 1)
    m.row_stride = 1;
  return m;
}

Matrix part(const Matrix& m, int64_t row, int64_t rows, int64_t column, int64_t columns) {
  return {m.data + row * m.row_stride + column * m.col_stride, rows, columns, m.row_stride, m.col_stride};
}

// A left operand as small_gemm reads it.
struct Left {
  const float* data;
  int64_t row, col;  // strides
};

bool is_used_in_place(const Matrix& m) { return m.col_stride == 1 && m.row_stride % kAwkwardStride != 0; }

// The distance of packed rows: an odd number of cache lines.
int64_t left_stride(int64_t cols) { return round_up(cols, 32) + 16; }

int64_t packed_left_floats(const Matrix& m) { return m.rows * std::max(left_stride(m.cols), m.cols); }

Left pack_left(const Matrix& m, float* to) {
  if (is_used_in_place(m)) return {m.data, m.row_stride, 1};
  if (m.col_stride == 1) {
    const int64_t stride = left_stride(m.cols);
    for (int64_t i = 0; i < m.rows; ++i) std::copy_n(m.data + i * m.row_stride, m.cols, to + i * stride);
    return {to, stride, 1};
  }
  for (int64_t p = 0; p < m.cols; ++p) std::copy_n(m.data + p * m.col_stride, m.rows, to + p * m.rows);
  return {to, 1, m.rows};
}

// A right operand as small_gemm reads it.
struct Right {
  const float* data;
  int64_t row, panel;  // distances
};

// c [left.rows, right.cols] with distances ldc.
SmallGemm<float> task_of(const Left& left, int64_t rows, const Right& right, int64_t columns, int64_t depth, float* c,
                         int64_t ldc) {
  return {.m = rows,
          .n = columns,
          .k = depth,
          .a = left.data,
          .a_row = left.row,
          .a_col = left.col,
          .b = right.data,
          .ldb = right.row,
          .c = c,
          .ldc = ldc,
          .b_panel = right.panel};
}

// The terms of a sum come in parts that depend on their number alone.
template <typename F>
void for_depths(int64_t k, F&& f) {
  for_equal_parts(k, kDepth, 8, f);
}

// A product to be computed: c [m, n], rows ldc apart, or transposed [n, m], becomes left [m, k] * right [k, n].
struct Product {
  Matrix left, right;
  float* c;
  int64_t ldc;
  Epilogue<float> epilogue = {};
  bool transposed = false;  // c lies so: rows of left are columns of c

  // That of rows of left, or of columns of right.
  Product rows(int64_t first, int64_t count) const {
    return with_c(transposed, first, part(left, first, count, 0, left.cols), right);
  }
  Product columns(int64_t first, int64_t count) const {
    return with_c(!transposed, first, left, part(right, 0, right.rows, first, count));
  }

 private:
  Product with_c(bool columns_of_c, int64_t first, const Matrix& own_left, const Matrix& own_right) const {
    const int64_t offset = columns_of_c ? first : first * ldc;
    return {own_left, own_right, c + offset, ldc, epilogue.at(columns_of_c ? first : 0, offset), transposed};
  }
};

float* right_scratch(int64_t depth, int64_t columns) {
  return thread_scratch_of<float>(ScratchUse::right, depth * round_up(columns, kGemmPanel));
}

Right packed_right(const Matrix& m, float* to) {
  pack_panels(m, kGemmPanel, to);
  return {to, kGemmPanel, m.rows * kGemmPanel};
}

// For few rows of the left operand dense ones of the right one serve as they lie: to pack them takes as long.
Right right_in_scratch(const Matrix& m, int64_t left_rows) {
  if (left_rows <= kTall && m.col_stride == 1) return {m.data, m.row_stride, kGemmPanel};
  return packed_right(m, right_scratch(m.rows, m.cols));
}

Left left_in_scratch(const Matrix& m) {
  return pack_left(m, thread_scratch_of<float>(ScratchUse::left, packed_left_floats(m)));
}

void run_direct(const Product& product) {
  const Matrix &left = product.left, &right = product.right;
  for_depths(left.cols, [&](int64_t p, int64_t depth) {
    for_equal_parts(right.cols, kWidth, kGemmPanel, [&](int64_t column, int64_t columns) {
      const Right packed = right_in_scratch(part(right, p, depth, column, columns), left.rows);
      for_equal_parts(left.rows, kHeight, 1, [&](int64_t row, int64_t rows) {
        const int64_t offset = row * product.ldc + column;
        SmallGemm<float> task = task_of(left_in_scratch(part(left, row, rows, p, depth)), rows, packed, columns, depth,
                                        product.c + offset, product.ldc);
        task.accumulate = p > 0;
        if (p + depth == left.cols) task.epilogue = product.epilogue.at(column, offset);
        small_gemm(task);
      });
    });
  });
}

// The epilogue of what is in c [m, n], in place.
void finish(const Epilogue<float>& e, int64_t m, int64_t n, float* c, int64_t ldc) {
  for (int64_t i = 0; i < m; ++i, c += ldc) {
    if (e.bias)
      for (int64_t j = 0; j < n; ++j) c[j] += e.bias[j];
    if (e.addend)
      for (int64_t j = 0; j < n; ++j) c[j] += e.addend[i * ldc + j];
    if (e.clamps())
      for (int64_t j = 0; j < n; ++j) c[j] = std::clamp(c[j], e.lower, e.upper);
  }
}

void run_transposed(const Product& product) {
  const Matrix& right = product.right;
  const int64_t k = right.rows, n = right.cols, width = round_up(n, kGemmPanel);
  float* packed = right_scratch(k, n);
  for_depths(k, [&](int64_t p, int64_t depth) { packed_right(part(right, p, depth, 0, n), packed + p * width); });
  // Whole rows of the left operand are packed: a layer's weights are read from end to end.
  const int64_t height = std::max(kTall, kHeight * kDepth / std::max(k, kDepth));
  for_equal_parts(product.left.rows, height, 1, [&](int64_t row, int64_t rows) {
    float* sums = thread_scratch_of<float>(ScratchUse::product, rows * n);
    const Left left = left_in_scratch(part(product.left, row, rows, 0, k));
    for_depths(k, [&](int64_t p, int64_t depth) {
      SmallGemm<float> task = task_of({left.data + p * left.col, left.row, left.col}, rows,
                                      {packed + p * width, kGemmPanel, depth * kGemmPanel}, n, depth, sums, n);
      task.accumulate = p > 0;
      small_gemm(task);
    });
    const Product block = product.rows(row, rows);
    Transpose<float>{sums, n, block.c, block.ldc}.run(n, rows);
    finish(block.epilogue, n, rows, block.c, block.ldc);
  });
}

// Shards of few terms: their sums meet in registers.
void run_short_shards(const Product& product) {
  const Matrix &left = product.left, &right = product.right;
  const Shards shards(left.cols);
  for_equal_parts(right.cols, kWidth, kGemmPanel, [&](int64_t column, int64_t columns) {
    const Right packed = right_in_scratch(part(right, 0, right.rows, column, columns), left.rows);
    for_equal_parts(left.rows, kHeight, 1, [&](int64_t row, int64_t rows) {
      const int64_t offset = row * product.ldc + column;
      SmallGemm<float> task = task_of(left_in_scratch(part(left, row, rows, 0, left.cols)), rows, packed, columns,
                                      right.rows, product.c + offset, product.ldc);
      task.shard_terms = shards.size();
      task.epilogue = product.epilogue.at(column, offset);
      small_gemm(task);
    });
  });
}

// Calls sum(first, last, level) for parts of terms [first, last), add(level) as Shards::add_up does.
template <typename Sum, typename Add>
void add_up_halves(int64_t first, int64_t last, int level, Sum&& sum, Add&& add) {
  if (last - first <= kRunningSum) return sum(first, last, level);
  const int64_t middle = first + (last - first) / 2;
  add_up_halves(first, middle, level, sum, add);
  add_up_halves(middle, last, level + 1, sum, add);
  add(level);
}

// Sums of many terms, block by block of c: those of parts are products by themselves, which are added as a tree.
void run_long(const Product& product, SumOrder order) {
  constexpr int64_t kRows = 8 * kHeight;
  const int64_t k = product.left.cols;
  const Shards shards(k);
  const int64_t most = std::min(kRows, product.left.rows) * std::min(kWidth, product.right.cols);
  const int64_t levels = Shards::kLevels + std::bit_width(static_cast<uint64_t>(k / kRunningSum));
  float* sums = thread_scratch_of<float>(ScratchUse::product, levels * most);
  for_equal_parts(product.right.cols, kWidth, kGemmPanel, [&](int64_t column, int64_t columns) {
    for_equal_parts(product.left.rows, kRows, 1, [&](int64_t row, int64_t rows) {
      const Product tile = product.columns(column, columns).rows(row, rows);
      const int64_t size = rows * columns;
      const auto sum = [&](int64_t first, int64_t last, int level) {
        run_direct({part(tile.left, 0, rows, first, last - first), part(tile.right, first, last - first, 0, columns),
                    sums + level * size, columns});
      };
      const auto add = [&](int level) {
        float *to = sums + level * size, *from = to + size;
        for (int64_t i = 0; i < size; ++i) to[i] += from[i];
      };
      if (order == SumOrder::in_shards)
        shards.add_up(
            [&](int64_t shard, int level) { add_up_halves(shards.begin(shard), shards.end(shard), level, sum, add); },
            add);
      else
        add_up_halves(0, k, 0, sum, add);
      for (int64_t i = 0; i < rows; ++i) std::copy_n(sums + i * columns, columns, tile.c + i * tile.ldc);
      finish(tile.epilogue, rows, columns, tile.c, tile.ldc);
    });
  });
}

// Whether c^T = b^T a^T is computed: what packing costs, and lanes without a column, decide. In units of a quarter of a
// cycle, more or less.
bool is_better_transposed(const Matrix& a, const Matrix& b) {
  constexpr int64_t kMostPacked = 1 << 18;  // floats: all of the right operand is packed, and should stay in cache
  constexpr int64_t kTransposing = 4, kCopying = 1, kLanes = 16;
  const auto cost = [](const Matrix& left, const Matrix& right) {
    return left.rows * round_up(right.cols, kLanes) * left.cols / 8 +
           right.rows * right.cols * (right.col_stride == 1 ? kCopying : kTransposing) +
           (is_used_in_place(left) ? 0 : left.rows * left.cols * kCopying);
  };
  return round_up(a.rows, kGemmPanel) * a.cols <= kMostPacked &&
         cost(b.transposed(), a.transposed()) + a.rows * b.cols * kTransposing < cost(a, b);
}

Product product_of(const Matrix& a, const Matrix& b, float* c, const Epilogue<float>& epilogue) {
  if (is_better_transposed(a, b)) return {b.transposed(), a.transposed(), c, b.cols, epilogue, true};
  return {a, b, c, b.cols, epilogue, false};
}

// Each thread packs its part of the operand that is divided, the larger one, and all of the other.
template <typename Run>
void divide(const Product& product, bool threads, Run&& run) {
  if (!threads) return run(product);
  const int64_t m = product.left.rows, n = product.right.cols, k = product.left.cols;
  const bool by_rows = m >= n;
  const int64_t unit = by_rows ? kTall : kGemmPanel, size = by_rows ? m : n;
  const int64_t grain = std::max<int64_t>(1, kGrain / (unit * k * (by_rows ? n : m)));
  parallel_for(ceil_div(size, unit), grain, [&](int64_t begin, int64_t end) {
    const int64_t first = begin * unit, count = std::min(end * unit, size) - first;
    run(by_rows ? product.rows(first, count) : product.columns(first, count));
  });
}

// c [rows] = matrix * vector, whose terms lie `step` apart.
void run_vector(const Matrix& matrix, const float* vector, int64_t step, float* c, bool threads) {
  constexpr int64_t kRows = 64;  // a unit of division: whole cache lines of c, and registers
  const int64_t k = matrix.cols, units = ceil_div(matrix.rows, kRows);
  float* dense = thread_scratch_of<float>(ScratchUse::right, k);
  for (int64_t p = 0; p < k; ++p) dense[p] = vector[p * step];
  const auto multiply = [&](int64_t begin, int64_t end) {
    const int64_t row = begin * kRows, rows = std::min(end * kRows, matrix.rows) - row;
    float* sums = thread_scratch_of<float>(ScratchUse::product, rows);
    for_depths(k, [&](int64_t p, int64_t depth) {
      const Matrix block = part(matrix, row, rows, p, depth);
      gemv({rows, depth, block.data, block.row_stride, block.col_stride, dense + p, p > 0 ? sums : c + row});
      if (p > 0)
        for (int64_t i = 0; i < rows; ++i) c[row + i] += sums[i];
    });
  };
  if (threads)
    parallel_for(units, std::max<int64_t>(1, kGrain / (kRows * k)), multiply);
  else
    multiply(0, units);
}

}  // namespace

void blocked_gemm(const MatrixView<float>& any_a, const MatrixView<float>& any_b, float* c,
                  const Epilogue<float>& epilogue, SumOrder order, bool threads) {
  const Matrix a = with_a_dense_axis(any_a), b = with_a_dense_axis(any_b);
  const int64_t k = a.cols;
  const bool in_shards = order == SumOrder::in_shards,
             is_long = in_shards ? k > kShardDepth * kBatchShards : k > kRunningSum;
  if (is_long || in_shards) {
    divide({a, b, c, b.cols, epilogue}, threads,
           [&](const Product& product) { is_long ? run_long(product, order) : run_short_shards(product); });
  } else if (a.rows == 1 || b.cols == 1) {
    if (a.rows == 1)
      run_vector(b.transposed(), a.data, a.col_stride, c, threads);
    else
      run_vector(a, b.data, b.row_stride, c, threads);
    finish(epilogue, a.rows, b.cols, c, b.cols);
  } else {
    divide(product_of(a, b, c, epilogue), threads,
           [](const Product& product) { product.transposed ? run_transposed(product) : run_direct(product); });
  }
}

}  // namespace thimble::kernels
