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

/// The place of the first of a list that runs at a level; its size if none does.
template <typename K, size_t N>
constexpr size_t place_of_best(const KernelOf<K> (&list)[N], Isa isa) {
  size_t i = 0;
  while (i < N && !has_all(features_of(isa), features_of(list[i].isa))) ++i;
  return i;
}

/// Whether every level has a kernel, and every kernel a level that picks it.
template <typename K, size_t N>
constexpr bool is_complete(const KernelOf<K> (&list)[N]) {
  for (size_t i = 0; i < N; ++i)
    if (place_of_best(list, list[i].isa) != i) return false;
  return list[N - 1].isa == Isa::scalar;
}

/// The first of the list that the level in use has the features for.
template <const auto& kList>
const auto& best_kernel() {
  static_assert(is_complete(kList), "a list ends with a kernel for Isa::scalar, and goes from best to plainest");
  return kList[place_of_best(kList, active_isa())].kernel;
}

}  // namespace thimble::kernels

/// Entries of kernels that are compiled for one family of processors only (see cmake/ThimbleKernels.cmake).
#if defined(__x86_64__)
#define THIMBLE_X86_KERNELS(...) __VA_ARGS__,
#else
#define THIMBLE_X86_KERNELS(...)
#endif
