#include <thimble/core/kernels/gemm/small_gemm_loops.h>

namespace thimble::kernels {

namespace {

template <typename T>
struct Scalar {
  using Value = T;
  using Register = T;
  static constexpr int kWidth = 1, kRows = 2, kVectors = 4;

  static T load(const T* p) { return *p; }
  static T load(const T* p, int) { return *p; }
  static void store(T* p, T v) { *p = v; }
  static void store(T* p, T v, int) { *p = v; }
  static T zero() { return 0; }
  static T broadcast(const T* p) { return *p; }
  static T multiply_add(T a, T b, T c) { return a * b + c; }
  static T add(T a, T b) { return a + b; }
  static T max(T a, T b) { return a > b ? a : b; }
  static T min(T a, T b) { return a < b ? a : b; }
};

}  // namespace

constinit const SmallGemmTable small_gemm_scalar = kTableOf<Scalar<float>, Scalar<double>>;

}  // namespace thimble::kernels
