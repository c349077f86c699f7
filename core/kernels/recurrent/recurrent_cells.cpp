#include <cmath>

#include <thimble/core/kernels/kernel_list.h>
#include <thimble/core/kernels/recurrent/recurrent_cells_loops.h>

namespace thimble::kernels {

namespace {

constexpr KernelOf<const RecurrentCells<float>*> kCells[] = {THIMBLE_X86_KERNELS(
    {Isa::avx512, &recurrent_cells_avx512}, {Isa::avx2, &recurrent_cells_avx2}){Isa::scalar, &recurrent_cells_scalar}};

struct DoubleCells {
  using Value = double;
  template <typename F>
  static void each(int64_t n, F&& f) {
    for (int64_t i = 0; i < n; ++i) f(double{}, i);
  }
  static double sigmoid(double v) { return 1 / (1 + std::exp(-v)); }
  static double tanh(double v) { return std::tanh(v); }
};

constexpr RecurrentCells<double> kFloat64Cells = recurrent_cells_of<DoubleCells>();

}  // namespace

template <>
const RecurrentCells<float>& recurrent_cells() {
  return *best_kernel<kCells>();
}

template <>
const RecurrentCells<double>& recurrent_cells() {
  return kFloat64Cells;
}

}  // namespace thimble::kernels
