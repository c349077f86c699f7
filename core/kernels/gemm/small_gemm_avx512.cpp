#include <thimble/core/kernels/float_vectors_avx512.h>
#include <thimble/core/kernels/gemm/small_gemm_loops.h>

namespace thimble::kernels {

namespace {

template <typename Vectors>
struct Tiles : Vectors {
  static constexpr int kRows = 14, kVectors = 2;
};

}  // namespace

constinit const SmallGemmTable small_gemm_avx512 = kTableOf<Tiles<Avx512Float>, Tiles<Avx512Double>>;

}  // namespace thimble::kernels
