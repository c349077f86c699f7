#include <thimble/core/kernels/float_vectors_avx2.h>
#include <thimble/core/kernels/gemm/small_gemm_loops.h>

namespace thimble::kernels {

namespace {

template <typename Vectors>
struct Tiles : Vectors {
  static constexpr int kRows = 6, kVectors = 2;
};

}  // namespace

constinit const SmallGemmTable small_gemm_avx2 = kTableOf<Tiles<Avx2Float>, Tiles<Avx2Double>>;

}  // namespace thimble::kernels
