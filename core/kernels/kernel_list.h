// How a kernel is chosen: each has one list of what there is of it, from best to plainest. A level of
// core/platform/isa.h picks the first whose features it has, so whoever tries every level of the CPU has tried every
// kernel of its lists.
#pragma once

#include <cstddef>

#include <thimble/core/platform/isa.h>

namespace thimble::kernels {

/// One entry of a list: `kernel` runs where there are the features of `isa`.
template <typename K>
struct KernelOf {
  Isa isa;
  K kernel;
};

/// The first of the list that the level in use has the features for. The last one needs none.
template <typename K, size_t N>
const K& best_kernel(const KernelOf<K> (&list)[N]) {
  const CpuFeatures features = features_of(active_isa());
  size_t i = 0;
  while (i + 1 < N && !has_all(features, features_of(list[i].isa))) ++i;
  return list[i].kernel;
}

}  // namespace thimble::kernels

/// Entries of kernels that are compiled for one family of processors only (see cmake/ThimbleKernels.cmake).
#if defined(__x86_64__)
#define THIMBLE_X86_KERNELS(...) __VA_ARGS__,
#else
#define THIMBLE_X86_KERNELS(...)
#endif
