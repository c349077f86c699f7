#include <thimble/core/kernels/weight_only/weight_only_gemm_vnni_dot.h>

namespace thimble::kernels {

void weight_only_rows_avx512_vnni(const WeightOnlyTask& task, int64_t begin, int64_t end) {
  quantize_rows<VnniDot>(task, begin, end);
}

void weight_only_gemm_avx512_vnni(const WeightOnlyTask& task, const WeightOnlyRange& range) {
  run_task<VnniDot>(task, range);
}

}  // namespace thimble::kernels
