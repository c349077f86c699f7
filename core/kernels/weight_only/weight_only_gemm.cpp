#include <algorithm>
#include <vector>

#include <thimble/core/error.h>
#include <thimble/core/kernels/kernel_list.h>
#include <thimble/core/kernels/rounding.h>
#include <thimble/core/kernels/scratch.h>
#include <thimble/core/kernels/weight_only/bit_packing.h>
#include <thimble/core/kernels/weight_only/weight_only_gemm.h>
#include <thimble/core/kernels/weight_only/weight_only_gemm_task.h>
#include <thimble/core/memory.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {

constexpr int64_t kPanel = 16;
constexpr int64_t kLargestSize = int64_t{1} << 31;

struct Kernel {
  void (*rows)(const WeightOnlyTask&, int64_t, int64_t);
  void (*multiply)(const WeightOnlyTask&, const WeightOnlyRange&);
  double speed;  // multiply-adds per nanosecond and core, roughly and on the low side
  int64_t plane_multiple = 4;
};

constexpr KernelOf<Kernel> kKernels[] = {
    THIMBLE_X86_KERNELS({Isa::amx, {weight_only_rows_avx512_vnni, weight_only_gemm_amx, 300, 64}},
                        {Isa::avx512_vnni, {weight_only_rows_avx512_vnni, weight_only_gemm_avx512_vnni, 100}},
                        {Isa::avx_vnni, {weight_only_rows_avx_vnni, weight_only_gemm_avx_vnni, 50}},
                        {Isa::avx512, {weight_only_rows_avx512, weight_only_gemm_avx512, 40}},
                        {Isa::avx2, {weight_only_rows_avx2, weight_only_gemm_avx2, 25}}){
        Isa::scalar, {weight_only_rows_scalar, weight_only_gemm_scalar, 2}}};

// How many of `units`, which take `nanos` together, are worth handing to another thread.
int64_t grain_of(int64_t units, double nanos) {
  constexpr double kNanosPerPiece = 3000;
  return static_cast<int64_t>(std::max(1.0, kNanosPerPiece * static_cast<double>(units) / std::max(nanos, 1.0)));
}

// This thread's room for `count` rows in fixed point.
void place_rows(WeightOnlyTask& task, int64_t count) {
  constexpr int64_t kSlack = 15;  // tiles are loaded 16 rows at a time
  const int64_t bytes = (count + kSlack) * task.row_stride, numbers = count * task.blocks;
  task.rows = thread_scratch(ScratchUse::rows, bytes + numbers * 8);
  task.row_scales = reinterpret_cast<float*>(task.rows + bytes);
  task.row_sums = reinterpret_cast<int32_t*>(task.rows + bytes) + numbers;
}

void quantize_rows(const Kernel& kernel, const WeightOnlyTask& task, int64_t m) {
  constexpr double kNanosPerElement = 0.15;
  const double nanos = kNanosPerElement * static_cast<double>(m) * static_cast<double>(task.k);
  parallel_for(m, grain_of(m, nanos), [&](int64_t begin, int64_t end) { kernel.rows(task, begin, end); });
}

// Splits the panels, so that each thread reads its own weights, or, of few panels, the rows.
void multiply(const Kernel& kernel, WeightOnlyTask task, int64_t m, int64_t panels) {
  constexpr int64_t kRowsPerUnit = 32, kFewRows = 4;
  const int64_t panels_per_unit = std::max(1, 4 / task.lanes);
  const int64_t panel_units = ceil_div(panels, panels_per_unit), row_units = ceil_div(m, kRowsPerUnit);
  // Few rows wait for the weights.
  constexpr double kNanosPerWeight = 1.0 / 50;
  const double weights = static_cast<double>(task.k) * static_cast<double>(task.n);
  const double nanos = weights * (static_cast<double>(m) / kernel.speed + kNanosPerWeight);
  if (task.n >= m && panel_units > 1) {
    // Of few rows each thread makes its own copy in fixed point: to fetch another core's would take longer.
    const bool own_rows = m <= kFewRows;
    if (!own_rows) {
      place_rows(task, m);
      quantize_rows(kernel, task, m);
    }
    parallel_for(panel_units, grain_of(panel_units, nanos), [&](int64_t begin, int64_t end) {
      WeightOnlyTask part = task;
      if (own_rows) {
        place_rows(part, m);
        kernel.rows(part, 0, m);
      }
      kernel.multiply(part, {0, m, begin * panels_per_unit, std::min(end * panels_per_unit, panels)});
    });
  } else {
    place_rows(task, m);
    quantize_rows(kernel, task, m);
    parallel_for(row_units, grain_of(row_units, nanos), [&](int64_t begin, int64_t end) {
      kernel.multiply(task, {begin * kRowsPerUnit, std::min(end * kRowsPerUnit, m), 0, panels});
    });
  }
}

template <typename T>
std::shared_ptr<void> zeros(int64_t count) {
  std::shared_ptr<void> memory = allocate(static_cast<size_t>(count) * sizeof(T));
  std::fill_n(static_cast<T*>(memory.get()), count, T{});
  return memory;
}

// values [n, groups] as [panels][groups][channels of a panel]
template <typename T>
std::shared_ptr<void> in_panels(const T* values, const WeightOnlyMatrix& w) {
  const int64_t channels = kPanel * w.lanes(), groups = w.groups();
  std::shared_ptr<void> memory = zeros<T>(w.panels() * groups * channels);
  for (int64_t c = 0; c < w.n(); ++c)
    for (int64_t g = 0; g < groups; ++g)
      static_cast<T*>(memory.get())[(c / channels * groups + g) * channels + c % channels] = values[c * groups + g];
  return memory;
}

// As many weights a byte as fit, but no lane that has no channels: it would cost products and save no memory.
int lanes_of(int bits, int64_t n) {
  int lanes = bits <= 2 ? 4 : bits <= 4 ? 2 : 1;
  while (lanes > 1 && n <= kPanel * lanes / 2) lanes /= 2;
  return lanes;
}

}  // namespace

WeightOnlyMatrix::WeightOnlyMatrix(const Layout& layout, const uint8_t* packed_rows, const float* scales,
                                   const uint8_t* zero_points)
    : layout_(layout), lanes_(lanes_of(layout.bits, layout.n)) {
  check(layout.bits >= 2 && layout.bits <= 8, "WeightOnlyMatrix: ", layout.bits, " bits are not between 2 and 8");
  check(layout.n > 0 && layout.k > 0 && layout.n < kLargestSize && layout.k < kLargestSize, "WeightOnlyMatrix: [",
        layout.n, ", ", layout.k, "] is out of range");
  check(layout.group_size > 0, "WeightOnlyMatrix: groups of ", layout.group_size, " features");
  layout_.group_size = std::min(layout.group_size, layout.k);
  const int64_t block = weight_only_block(layout.bits);
  blocks_ = (groups() - 1) * ceil_div(group_size(), block) + ceil_div(last_group_size(), block);
  padded_k_ = padded_k(4);
  scales_ = in_panels(scales, *this);
  if (zero_points) zero_points_ = in_panels(zero_points, *this);
  data_ = zeros<uint8_t>(panels() * panel_stride() + kSlack);
  pack(packed_rows);
}

int64_t WeightOnlyMatrix::padded_k(int64_t multiple) const {
  const auto padded = [&](int64_t size) {
    const int64_t rest = size % weight_only_block(bits());
    return size - rest + ceil_div(rest, multiple) * multiple;
  };
  return (groups() - 1) * padded(group_size()) + padded(last_group_size());
}

void WeightOnlyMatrix::pack(const uint8_t* packed_rows) {
  const int64_t row_bytes = packed_bytes(k(), bits()), channels = kPanel * lanes_;
  std::vector<uint8_t> row(static_cast<size_t>(k()));
  auto* data = static_cast<uint8_t*>(data_.get());
  for (int64_t c = 0; c < n(); ++c) {
    unpack_bits(packed_rows + c * row_bytes, k(), bits(), row.data());
    uint8_t* panel = data + c / channels * panel_stride() + c % kPanel * 4;
    const int64_t shift = c % channels / kPanel * (8 / lanes_);
    const uint8_t* value = row.data();
    for (int64_t g = 0; g < groups(); ++g) {
      const int64_t size = g == groups() - 1 ? last_group_size() : group_size();
      // Blocks are multiples of 4 but for the last one of a group, so that group and block are padded at once.
      for (int64_t i = 0; i < size; ++i)
        panel[i / 4 * 64 + i % 4] = static_cast<uint8_t>(panel[i / 4 * 64 + i % 4] | *value++ << shift);
      panel += ceil_div(size, 4) * 64;
    }
  }
}

int64_t WeightOnlyMatrix::nbytes() const {
  const int64_t parameters = panels() * groups() * kPanel * lanes_;
  return panels() * panel_stride() + parameters * (zero_points_ ? 5 : 4);
}

void weight_only_gemm(const float* x, int64_t lda, int64_t m, const WeightOnlyMatrix& w,
                      const WeightOnlyEpilogue& epilogue, float* out, int64_t ldc) {
  constexpr int64_t kChunkBytes = 512 * 1024, kRowsPerUnit = 64;
  const Kernel& kernel = best_kernel<kKernels>();
  // An odd number of cache lines, so that rows do not compete for the same places in the cache.
  const int64_t row_stride = (ceil_div(2 * w.padded_k(kernel.plane_multiple), 64) | 1) * 64;
  WeightOnlyTask task{.x = x,
                      .lda = lda,
                      .k = w.k(),
                      .group_size = w.group_size(),
                      .groups = w.groups(),
                      .block = weight_only_block(w.bits()),
                      .plane_multiple = kernel.plane_multiple,
                      .rows = nullptr,
                      .row_stride = row_stride,
                      .blocks = w.blocks(),
                      .row_scales = nullptr,
                      .row_sums = nullptr,
                      .weights = w.data(),
                      .panel_stride = w.panel_stride(),
                      .bits = w.bits(),
                      .lanes = w.lanes(),
                      .scales = w.scales(),
                      .zero_points = w.zero_points(),
                      .n = w.n(),
                      .bias = epilogue.bias,
                      .relu = epilogue.relu,
                      .out = out,
                      .ldc = ldc};
  // As many rows at a time as stay in the second level cache while all weights pass.
  const int64_t chunk = std::max<int64_t>(1, kChunkBytes / row_stride / kRowsPerUnit) * kRowsPerUnit;
  for (int64_t row = 0; row < m; row += chunk) {
    task.x = x + row * lda;
    task.out = out + row * ldc;
    multiply(kernel, task, std::min(chunk, m - row), w.panels());
  }
}

}  // namespace thimble::kernels
