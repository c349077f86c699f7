#include <algorithm>

#include <thimble/core/kernels/gemm/small_gemm.h>
#include <thimble/core/kernels/kernel_list.h>

namespace thimble::kernels {

namespace {

constexpr KernelOf<const SmallGemmTable*> kKernels[] = {THIMBLE_X86_KERNELS(
    {Isa::avx512, &small_gemm_avx512}, {Isa::avx2, &small_gemm_avx2}){Isa::scalar, &small_gemm_scalar}};

const SmallGemmTable& table() { return *best_kernel<kKernels>(); }

// In parts of at most kGemmChain terms: several segments, or a part of one.
template <typename T>
void multiply_in_chains(const SmallGemm<T>& task, void (*multiply)(const SmallGemm<T>&)) {
  if (task.shard_terms > 0 || task.k * task.segment_count <= kGemmChain) return multiply(task);
  const int64_t segments = std::max<int64_t>(1, kGemmChain / task.k), terms = std::min(task.k, kGemmChain);
  SmallGemm<T> part = task;
  for (int64_t s = 0; s < task.segment_count; s += segments)
    for (int64_t p = 0; p < task.k; p += terms) {
      part.segments = task.segments + s;
      part.segment_count = std::min(segments, task.segment_count - s);
      part.k = std::min(terms, task.k - p);
      part.a = task.a + p * task.a_col;
      part.b = task.b + (s * task.k + p) * task.ldb;
      const bool is_last = s + segments >= task.segment_count && p + terms >= task.k;
      part.epilogue = is_last ? task.epilogue : Epilogue<T>{};
      multiply(part);
      part.accumulate = true;
    }
}

}  // namespace

void small_gemm(const SmallGemm<float>& task) { multiply_in_chains(task, table().float32); }
void small_gemm(const SmallGemm<double>& task) { multiply_in_chains(task, table().float64); }

}  // namespace thimble::kernels
