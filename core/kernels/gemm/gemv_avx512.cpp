#include <thimble/core/kernels/float_vectors_avx512.h>
#include <thimble/core/kernels/gemm/gemv_loops.h>

namespace thimble::kernels {

constinit const GemvTable gemv_avx512 = kGemvOf<Avx512Float>;

}  // namespace thimble::kernels
