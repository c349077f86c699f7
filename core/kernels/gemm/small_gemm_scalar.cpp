#include <thimble/core/kernels/float_vectors.h>
#include <thimble/core/kernels/gemm/small_gemm_loops.h>

namespace thimble::kernels {

namespace {

template <typename Vectors>
struct Tiles : Vectors {
  static constexpr int kRows = 2, kVectors = 4;
};

}  // namespace

constinit const SmallGemmTable small_gemm_scalar = kTableOf<Tiles<Scalar<float>>, Tiles<Scalar<double>>>;

}  // namespace thimble::kernels
