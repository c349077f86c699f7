#include <algorithm>
#include <limits>

#include <thimble/core/error.h>
#include <thimble/core/kernels/int8/int8_gemm.h>
#include <thimble/core/kernels/int8/int8_gemm_task.h>
#include <thimble/core/kernels/kernel_list.h>
#include <thimble/core/kernels/rounding.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {

struct Kernel {
  void (*run)(const Int8GemmTask&, const Int8GemmRange&);
  double speed;  // multiply-adds per nanosecond and core, roughly and on the low side
};

constexpr KernelOf<Kernel> kKernels[] = {
    THIMBLE_X86_KERNELS({Isa::amx, {int8_gemm_amx, 1000}}, {Isa::avx512_vnni, {int8_gemm_avx512_vnni, 250}},
                        {Isa::avx_vnni, {int8_gemm_avx_vnni, 125}}, {Isa::avx512, {int8_gemm_avx512, 50}},
                        {Isa::avx2, {int8_gemm_avx2, 35}}){Isa::scalar, {int8_gemm_scalar, 5}}};

// Handing work to another thread takes a microsecond or two, so a piece should last some. The time is estimated from
// the multiply-adds and from the weights, which batch 1 does little more than read.
int64_t grain_of(double units, double multiply_adds, double weight_bytes) {
  constexpr double kNanosPerByte = 1.0 / 50, kNanosPerPiece = 3000;
  const double nanos = multiply_adds / best_kernel<kKernels>().speed + weight_bytes * kNanosPerByte;
  return static_cast<int64_t>(std::max(1.0, kNanosPerPiece * units / std::max(nanos, 1.0)));
}

// Splits the larger operand, so that each thread reads little of what the others read: the panels of the weights (which
// then stay in that thread's cache from call to call), or the rows of the input.
void run(const Int8GemmTask& task, int64_t m) {
  constexpr int64_t kRowsPerUnit = 32, kPanelsPerUnit = 2;
  const auto kernel = best_kernel<kKernels>().run;
  const int64_t panels = ceil_div(task.n, PackedInt8Weights::kPanel);
  const double weight_bytes = static_cast<double>(task.n) * static_cast<double>(task.k);
  const double multiply_adds = weight_bytes * static_cast<double>(m);
  const int64_t row_units = ceil_div(m, kRowsPerUnit), panel_units = ceil_div(panels, kPanelsPerUnit);
  if (task.n >= m && panel_units > 1) {
    const int64_t grain = grain_of(static_cast<double>(panel_units), multiply_adds, weight_bytes);
    parallel_for(panel_units, grain, [&](int64_t begin, int64_t end) {
      kernel(task, {0, m, begin * kPanelsPerUnit, std::min(end * kPanelsPerUnit, panels)});
    });
  } else {
    const int64_t grain = grain_of(static_cast<double>(row_units), multiply_adds, 0);
    parallel_for(row_units, grain, [&](int64_t begin, int64_t end) {
      kernel(task, {begin * kRowsPerUnit, std::min(end * kRowsPerUnit, m), 0, panels});
    });
  }
}

constexpr int64_t kWholeRow[] = {0};

// What every product begins with.
Int8GemmTask task_of(const uint8_t* a, const int32_t* bias, const float* multiplier) {
  return {.a = a,
          .lda = 0,
          .rows = nullptr,
          .segments = kWholeRow,
          .segment_count = 1,
          .k = 0,
          .weights = nullptr,
          .panel_stride = 0,
          .n = 0,
          .bias = bias,
          .multiplier = multiplier,
          .row_zero_points = nullptr,
          .row_scales = nullptr,
          .offset = nullptr,
          .row_sums = nullptr,
          .low = 0,
          .high = 0,
          .zero_point = 0,
          .out = nullptr,
          .ldc = 0,
          .float_out = false};
}

Int8GemmTask task_of(const uint8_t* a, const Int8Epilogue& e) {
  Int8GemmTask task = task_of(a, e.bias, e.multiplier);
  task.zero_point = e.zero_point;
  return task;
}

Int8GemmTask task_of(const uint8_t* a, const Int8RowEpilogue& e) {
  Int8GemmTask task = task_of(a, e.sums, e.step);
  task.row_zero_points = e.zero_point;
  task.row_scales = e.scale;
  task.offset = e.bias;
  return task;
}

void set_weights(Int8GemmTask& task, const PackedInt8Weights& w) {
  task.k = w.k();
  task.weights = w.data();
  task.panel_stride = w.panel_stride();
  task.n = w.n();
}

void set_rows(Int8GemmTask& task, const GatheredRows& a) {
  task.rows = a.rows.data();
  task.segments = a.segments.data();
  task.segment_count = std::ssize(a.segments);
}

void set_output(Int8GemmTask& task, const Int8Epilogue& e, uint8_t* out, int64_t ldc) {
  task.low = static_cast<float>(e.low - e.zero_point);
  task.high = static_cast<float>(e.high - e.zero_point);
  task.out = out;
  task.ldc = ldc;
}

void set_float_output(Int8GemmTask& task, bool relu, float* out, int64_t ldc) {
  task.low = relu ? 0 : -std::numeric_limits<float>::infinity();
  task.float_out = true;
  task.out = out;
  task.ldc = ldc;
}

template <typename Epilogue>
void set_output(Int8GemmTask& task, const Epilogue& e, float* out, int64_t ldc) {
  set_float_output(task, e.relu, out, ldc);
}

template <typename Epilogue, typename Out>
void multiply(const uint8_t* a, int64_t lda, int64_t m, const PackedInt8Weights& w, const Epilogue& epilogue, Out* out,
              int64_t ldc) {
  Int8GemmTask task = task_of(a, epilogue);
  task.lda = lda;
  set_weights(task, w);
  set_output(task, epilogue, out, ldc);
  run(task, m);
}

template <typename Epilogue, typename Out>
void multiply_serial(const uint8_t* a, int64_t lda, int64_t m, const PackedInt8Weights& w, const Epilogue& epilogue,
                     Out* out, int64_t ldc) {
  Int8GemmTask task = task_of(a, epilogue);
  task.lda = lda;
  set_weights(task, w);
  set_output(task, epilogue, out, ldc);
  best_kernel<kKernels>().run(task, {0, m, 0, w.panels()});
}

template <typename Epilogue, typename Out>
void multiply_gathered(const GatheredRows& a, const PackedInt8Weights& w, const Epilogue& epilogue, Out* out,
                       int64_t ldc) {
  Int8GemmTask task = task_of(a.data, epilogue);
  set_rows(task, a);
  set_weights(task, w);
  set_output(task, epilogue, out, ldc);
  best_kernel<kKernels>().run(task, {0, std::ssize(a.rows), 0, w.panels()});
}

// A piece of a grouped product, small enough for its sums to stay in the first level cache from group to group.
constexpr int64_t kGroupRows = 32, kGroupPanels = 4, kGroupColumns = kGroupPanels * PackedInt8Weights::kPanel;

// A group's part of an epilogue, from a column on; the ReLU is that of their sum.
Int8Epilogue part_of(const Int8Epilogue& e, size_t group, int64_t n, int64_t column) {
  const int64_t at = static_cast<int64_t>(group) * n + column;
  return {.bias = e.bias + at, .multiplier = e.multiplier + at};
}

Int8RowEpilogue part_of(const Int8RowEpilogue& e, size_t group, int64_t n, int64_t column) {
  const int64_t at = static_cast<int64_t>(group) * n + column;
  return {.sums = e.sums + at,
          .step = e.step + at,
          .bias = group == 0 && e.bias ? e.bias + column : nullptr,
          .zero_point = e.zero_point,
          .scale = e.scale};
}

Int8Epilogue from_row(const Int8Epilogue& e, int64_t) { return e; }

Int8RowEpilogue from_row(Int8RowEpilogue e, int64_t row) {
  e.zero_point += row;
  e.scale += row;
  return e;
}

template <typename Epilogue>
void finish_row(const float* sums, int64_t n, const Epilogue& e, float* out) {
  for (int64_t c = 0; c < n; ++c) out[c] = e.relu && !(sums[c] > 0) ? 0 : sums[c];
}

void finish_row(const float* sums, int64_t n, const Int8Epilogue& e, uint8_t* out) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds half to even
  const auto low = static_cast<float>(e.low - e.zero_point), high = static_cast<float>(e.high - e.zero_point);
  for (int64_t c = 0; c < n; ++c) {
    const float rounded = std::min(std::max(sums[c], low), high) + kRound - kRound;
    out[c] = static_cast<uint8_t>(static_cast<int32_t>(rounded) + e.zero_point);
  }
}

template <typename Epilogue, typename Out>
void multiply_group_piece(const uint8_t* a, int64_t lda, int64_t rows, std::span<const PackedInt8Weights> groups,
                          int64_t first_panel, int64_t panels, const Epilogue& e, Out* out, int64_t ldc) {
  alignas(64) float sums[kGroupRows * kGroupColumns], of_group[kGroupRows * kGroupColumns];
  const auto kernel = best_kernel<kKernels>().run;
  const int64_t n = groups[0].n(), k = groups[0].k(), column = first_panel * PackedInt8Weights::kPanel;
  const int64_t columns = std::min(panels * PackedInt8Weights::kPanel, n - column);
  for (size_t g = 0; g < groups.size(); ++g) {
    Int8GemmTask task = task_of(a + static_cast<int64_t>(g) * k, part_of(e, g, n, column));
    task.lda = lda;
    set_weights(task, groups[g]);
    task.weights += first_panel * task.panel_stride;
    task.n = columns;
    set_float_output(task, /*relu=*/false, g == 0 ? sums : of_group, kGroupColumns);
    kernel(task, {0, rows, 0, panels});
    if (g == 0) continue;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < columns; ++c) sums[r * kGroupColumns + c] += of_group[r * kGroupColumns + c];
  }
  for (int64_t r = 0; r < rows; ++r) finish_row(sums + r * kGroupColumns, columns, e, out + r * ldc + column);
}

template <typename Epilogue, typename Out>
void multiply_groups(const uint8_t* a, int64_t lda, int64_t m, std::span<const PackedInt8Weights> groups,
                     const Epilogue& e, Out* out, int64_t ldc) {
  const int64_t panels = groups[0].panels(), pieces_across = ceil_div(panels, kGroupPanels);
  const int64_t pieces = ceil_div(m, kGroupRows) * pieces_across;
  const double weight_bytes = static_cast<double>(groups.size()) * static_cast<double>(groups[0].n() * groups[0].k());
  const int64_t grain =
      grain_of(static_cast<double>(pieces), weight_bytes * static_cast<double>(m), m < kGroupRows ? weight_bytes : 0);
  parallel_for(pieces, grain, [&](int64_t begin, int64_t end) {
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t row = piece / pieces_across * kGroupRows, panel = piece % pieces_across * kGroupPanels;
      multiply_group_piece(a + row * lda, lda, std::min(kGroupRows, m - row), groups, panel,
                           std::min(kGroupPanels, panels - panel), from_row(e, row), out + row * ldc, ldc);
    }
  });
}

}  // namespace

void int8_gemm(const uint8_t* a, int64_t lda, int64_t m, const PackedInt8Weights& w, const Int8Epilogue& epilogue,
               uint8_t* out, int64_t ldc) {
  multiply(a, lda, m, w, epilogue, out, ldc);
}

void int8_gemm(const uint8_t* a, int64_t lda, int64_t m, const PackedInt8Weights& w, const Int8Epilogue& epilogue,
               float* out, int64_t ldc) {
  multiply(a, lda, m, w, epilogue, out, ldc);
}

void int8_gemm(const uint8_t* a, int64_t lda, int64_t m, const PackedInt8Weights& w, const Int8RowEpilogue& epilogue,
               float* out, int64_t ldc) {
  multiply(a, lda, m, w, epilogue, out, ldc);
}

void int8_group_gemm(const uint8_t* a, int64_t lda, int64_t m, std::span<const PackedInt8Weights> groups,
                     const Int8Epilogue& epilogue, uint8_t* out, int64_t ldc) {
  multiply_groups(a, lda, m, groups, epilogue, out, ldc);
}

void int8_group_gemm(const uint8_t* a, int64_t lda, int64_t m, std::span<const PackedInt8Weights> groups,
                     const Int8Epilogue& epilogue, float* out, int64_t ldc) {
  multiply_groups(a, lda, m, groups, epilogue, out, ldc);
}

void int8_group_gemm(const uint8_t* a, int64_t lda, int64_t m, std::span<const PackedInt8Weights> groups,
                     const Int8RowEpilogue& epilogue, float* out, int64_t ldc) {
  multiply_groups(a, lda, m, groups, epilogue, out, ldc);
}

void int8_gemm_serial(const Int8GemmTask& task, const Int8GemmRange& range) {
  best_kernel<kKernels>().run(task, range);
}

void int8_gemm_serial(const uint8_t* a, int64_t lda, int64_t m, const PackedInt8Weights& w,
                      const Int8Epilogue& epilogue, uint8_t* out, int64_t ldc) {
  multiply_serial(a, lda, m, w, epilogue, out, ldc);
}

void int8_gemm_serial(const uint8_t* a, int64_t lda, int64_t m, const PackedInt8Weights& w,
                      const Int8Epilogue& epilogue, float* out, int64_t ldc) {
  multiply_serial(a, lda, m, w, epilogue, out, ldc);
}

void int8_gemm_serial(const uint8_t* a, int64_t lda, int64_t m, const PackedInt8Weights& w,
                      const Int8RowEpilogue& epilogue, float* out, int64_t ldc) {
  multiply_serial(a, lda, m, w, epilogue, out, ldc);
}

void int8_gemm_serial(const GatheredRows& a, const PackedInt8Weights& w, const Int8Epilogue& epilogue, uint8_t* out,
                      int64_t ldc) {
  multiply_gathered(a, w, epilogue, out, ldc);
}

void int8_gemm_serial(const GatheredRows& a, const PackedInt8Weights& w, const Int8Epilogue& epilogue, float* out,
                      int64_t ldc) {
  multiply_gathered(a, w, epilogue, out, ldc);
}

void int8_gemm_serial(const GatheredRows& a, const PackedInt8Weights& w, const Int8RowEpilogue& epilogue, float* out,
                      int64_t ldc) {
  multiply_gathered(a, w, epilogue, out, ldc);
}

}  // namespace thimble::kernels
