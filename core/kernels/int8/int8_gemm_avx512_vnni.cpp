#include <thimble/core/kernels/int8/int8_gemm_vnni_vector.h>

namespace thimble::kernels {

void int8_gemm_avx512_vnni(const Int8GemmTask& task, const Int8GemmRange& range) { run_task<VnniVector>(task, range); }

}  // namespace thimble::kernels
