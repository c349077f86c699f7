// Large pages for memory that is read or written from end to end: they spare the TLB, and there are fewer to make.
// Internal.
#pragma once

#include <cstddef>

#include <sys/mman.h>

namespace thimble::detail {

inline constexpr size_t kHugePage = size_t{2} << 20;

/// Advice only, and for memory that holds such a page.
inline void prefer_huge_pages(void* memory, size_t bytes) {
  if (bytes >= kHugePage) (void)::madvise(memory, bytes, MADV_HUGEPAGE);
}

}  // namespace thimble::detail
