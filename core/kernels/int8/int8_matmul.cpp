// With b' = b - 128, which the kernel multiplies by, and z' = b's zero point - 128:
//
//   sum of (a - za)(b - zb) = sum of a b' - z' * (sum of a's row) - za * (sum of b's column) + k za z'
//
// where the second term is one for each row, the last two are one for each column.
//
// Sums that could leave int32 are those of blocks of k, each of which a float holds, added up in int64.
#include <algorithm>
#include <limits>

#include <thimble/core/kernels/int8/int8_gemm_task.h>
#include <thimble/core/kernels/int8/int8_matmul.h>
#include <thimble/core/kernels/int8/int8_panels.h>
#include <thimble/core/kernels/int8/quantize_loops.h>
#include <thimble/core/kernels/rounding.h>
#include <thimble/core/kernels/scratch.h>
#include <thimble/core/kernels/vectors.h>

namespace thimble::kernels {

namespace {

// Parts of a sum may wrap around, the whole does not.
int32_t wrapped(int64_t part) { return static_cast<int32_t>(static_cast<uint32_t>(part)); }

// In 16-bit lanes, of bytes at even and at odd places: each vector adds at most 510.
template <typename V>
V sums_of_pairs(V bytes) {
  constexpr uint64_t kEven = 0x00ff00ff00ff00ff;
  return (bytes & kEven) + ((bytes >> 8) & kEven);
}

int64_t sum_of_lanes(uint64_t lanes) { return static_cast<int64_t>(lanes * 0x0001000100010001 >> 48); }

// The first 1, 2, 4 or 8 bytes.
template <typename T>
int64_t sum_of_bytes(const uint8_t* x) {
  T bytes;
  __builtin_memcpy(&bytes, x, sizeof(T));
  return sum_of_lanes(sums_of_pairs<uint64_t>(bytes));
}

int64_t sum_of(const uint8_t* x, int64_t n) {
  using Words = Vector<uint64_t, 2>;
  constexpr int64_t kVector = 16, kMostVectors = 32;  // whose sums, and those of four lanes, fit 16 bits
  int64_t sum = 0, i = 0;
  while (i + kVector <= n) {
    Words sums{};
    for (const int64_t end = std::min(n, i + kMostVectors * kVector); i + kVector <= end; i += kVector)
      sums += sums_of_pairs(load<2>(reinterpret_cast<const uint64_t*>(x + i)));
    sum += sum_of_lanes(sums[0]) + sum_of_lanes(sums[1]);
  }
  const int64_t left = n - i;
  if (left & 8) sum += sum_of_bytes<uint64_t>(x + i);
  if (left & 4) sum += sum_of_bytes<uint32_t>(x + i + (left & 8));
  if (left & 2) sum += sum_of_bytes<uint16_t>(x + i + (left & 12));
  if (left & 1) sum += x[n - 1];
  return sum;
}

// A call's arrays in one block of scratch memory.
struct Arrays {
  explicit Arrays(const Int8Matmul& p) : panels({p.n, p.k}), lda(p.a_column == 1 ? p.a_row : p.k) {
    const int64_t columns = round_up(p.n, 16), copied = p.a_column == 1 ? 0 : p.m * p.k;
    packed = reinterpret_cast<int8_t*>(
        thread_scratch(ScratchUse::right, round_up(panels.bytes(), 64) + (3 * columns + p.m) * 4 + copied));
    bias = reinterpret_cast<int32_t*>(packed + round_up(panels.bytes(), 64));
    multiplier = reinterpret_cast<float*>(bias + columns);
    column_sums = multiplier + columns;
    row_sums = reinterpret_cast<int32_t*>(column_sums + columns);
    copy = reinterpret_cast<uint8_t*>(row_sums + p.m);
  }

  Int8Panels panels;
  int64_t lda;
  int8_t* packed;
  int32_t* bias;
  float *multiplier, *column_sums;
  int32_t* row_sums;
  uint8_t* copy;  // of a, if its rows are not dense
};

Int8GemmTask task_of(const Int8Matmul& p, const Arrays& arrays) {
  static constexpr int64_t kWholeRow[] = {0};
  return {.a = p.a_column == 1 ? p.a : arrays.copy,
          .lda = arrays.lda,
          .rows = nullptr,
          .segments = kWholeRow,
          .segment_count = 1,
          .k = p.k,
          .weights = arrays.packed,
          .panel_stride = arrays.panels.stride(),
          .n = p.n,
          .bias = arrays.bias,
          .multiplier = arrays.multiplier,
          .row_zero_points = nullptr,
          .row_scales = nullptr,
          .offset = nullptr,
          .row_sums = nullptr,
          .low = static_cast<float>(-p.zero_point),
          .high = static_cast<float>(p.high - p.zero_point),
          .zero_point = p.zero_point,
          .out = p.out,
          .ldc = p.out_row,
          .float_out = false};
}

// The sums of a b', as floats that hold them.
void sum_products(Int8GemmTask task, const Arrays& arrays, int64_t m, float* sums) {
  std::fill_n(arrays.bias, task.n, 0);
  std::fill_n(arrays.multiplier, task.n, 1.0f);
  task.low = -std::numeric_limits<float>::infinity();
  task.out = sums;
  task.ldc = task.n;
  task.float_out = true;
  int8_gemm_serial(task, {0, m, 0, arrays.panels.count()});
}

// The sums of b's columns: the product with a row of ones, which float32 holds.
void sum_columns(Int8GemmTask task, const Arrays& arrays, int64_t k) {
  auto* ones = thread_scratch(ScratchUse::left, k);
  std::fill_n(ones, k, uint8_t{1});
  task.a = ones;
  sum_products(task, arrays, 1, arrays.column_sums);
}

void copy_rows(const Int8Matmul& p, uint8_t* copy) {
  for (int64_t i = 0; i < p.m; ++i)
    for (int64_t j = 0; j < p.k; ++j) copy[i * p.k + j] = p.a[i * p.a_row + j * p.a_column];
}

// Adds the products of all rows with those of b to sums [m, n], which int64 holds.
void add_block(const Int8Matmul& p, float* products, int64_t* sums) {
  const Arrays arrays(p);
  pack_int8_panels(p.b, p.b_row, p.b_column, arrays.panels, arrays.packed);
  if (p.a_column != 1) copy_rows(p, arrays.copy);
  const Int8GemmTask task = task_of(p, arrays);
  sum_products(task, arrays, p.m, products);
  sum_columns(task, arrays, p.k);
  const int64_t b_zero_point = p.b_zero_point - 128;
  for (int64_t i = 0; i < p.m; ++i) {
    const int64_t of_row = b_zero_point * (p.k * p.a_zero_point - sum_of(task.a + i * task.lda, p.k));
    for (int64_t j = 0; j < p.n; ++j)
      sums[i * p.n + j] += static_cast<int64_t>(products[i * p.n + j]) + of_row -
                           p.a_zero_point * static_cast<int64_t>(arrays.column_sums[j]);
  }
}

// In scratch memory of 12 bytes for each element.
void long_tile(const Int8Matmul& p) {
  constexpr int64_t kBlock = 512;  // 512 * 255 * 128 < 2^24
  auto* sums = thread_scratch_of<int64_t>(ScratchUse::sums, p.m * p.n);
  auto* products = thread_scratch_of<float>(ScratchUse::product, p.m * p.n);
  std::fill_n(sums, p.m * p.n, 0);
  for (int64_t begin = 0; begin < p.k; begin += kBlock) {
    Int8Matmul block = p;
    block.a += begin * p.a_column;
    block.b += begin * p.b_row;
    block.k = std::min(kBlock, p.k - begin);
    add_block(block, products, sums);
  }
  const auto low = static_cast<float>(-p.zero_point), high = static_cast<float>(p.high - p.zero_point);
  for (int64_t i = 0; i < p.m; ++i)
    for (int64_t j = 0; j < p.n; ++j) {
      const float v = static_cast<float>(sums[i * p.n + j]) * p.multiplier;
      p.out[i * p.out_row + j] = to_integer<uint8_t>(clamped(v, low, high), p.zero_point);
    }
}

void long_matmul(const Int8Matmul& p) {
  constexpr int64_t kTile = 256;  // so that a tile's sums and operands are about 1 MiB
  for (int64_t i = 0; i < p.m; i += kTile)
    for (int64_t j = 0; j < p.n; j += kTile) {
      Int8Matmul tile = p;
      tile.m = std::min(kTile, p.m - i);
      tile.n = std::min(kTile, p.n - j);
      tile.a += i * p.a_row;
      tile.b += j * p.b_column;
      tile.out += i * p.out_row + j;
      long_tile(tile);
    }
}

}  // namespace

void int8_matmul(const Int8Matmul& p) {
  if (p.m == 0 || p.n == 0) return;
  if (p.k > Int8Matmul::kMostInInt32) return long_matmul(p);
  const Arrays arrays(p);
  pack_int8_panels(p.b, p.b_row, p.b_column, arrays.panels, arrays.packed);
  if (p.a_column != 1) copy_rows(p, arrays.copy);
  Int8GemmTask task = task_of(p, arrays);

  const int64_t b_zero_point = p.b_zero_point - 128;
  if (p.a_zero_point != 0) sum_columns(task, arrays, p.k);
  for (int64_t j = 0; j < p.n; ++j) {
    const auto column = p.a_zero_point == 0 ? int64_t{0} : static_cast<int64_t>(arrays.column_sums[j]);
    arrays.bias[j] = wrapped(p.a_zero_point * (p.k * b_zero_point - column));
  }
  std::fill_n(arrays.multiplier, p.n, p.multiplier);
  if (b_zero_point != 0) {
    for (int64_t i = 0; i < p.m; ++i) arrays.row_sums[i] = wrapped(-b_zero_point * sum_of(task.a + i * task.lda, p.k));
    task.row_sums = arrays.row_sums;
  }
  int8_gemm_serial(task, {0, p.m, 0, arrays.panels.count()});
}

}  // namespace thimble::kernels
