#include <thimble/core/kernels/gemm/gemv_loops.h>

namespace thimble::kernels {

namespace {
struct Scalar {
  static constexpr int kWidth = 4;
  using V = Vector<float, kWidth>;
  static V multiply_add(V a, V b, V c) { return a * b + c; }
};
}  // namespace

constinit const GemvTable gemv_scalar = kGemvOf<Scalar>;

}  // namespace thimble::kernels
