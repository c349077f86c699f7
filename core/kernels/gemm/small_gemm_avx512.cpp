#include <thimble/core/kernels/float_vectors_avx512.h>
#include <thimble/core/kernels/gemm/small_gemm_loops.h>

namespace thimble::kernels {

namespace {

template <typename Vectors, int kHeight>
struct Tiles : Vectors {
  static constexpr int kRows = kHeight, kVectors = 2;
};

}  // namespace

// Float64 is for checking gradients: lower tiles, which are half as fast, for a fifth of the code.
constinit const SmallGemmTable small_gemm_avx512 = kTableOf<Tiles<Avx512Float, 14>, Tiles<Avx512Double, 4>>;

}  // namespace thimble::kernels
