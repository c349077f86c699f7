#include <thimble/core/kernels/float_vectors_avx2.h>
#include <thimble/core/kernels/gemm/gemv_loops.h>

namespace thimble::kernels {

constinit const GemvTable gemv_avx2 = kGemvOf<Avx2Float>;

}  // namespace thimble::kernels
