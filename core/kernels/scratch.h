// Memory for a kernel's intermediate results.
#pragma once

#include <cstdint>

namespace thimble::kernels {

/// What for; each use has memory of its own, because kernels call each other.
enum class ScratchUse { columns, rows, sums, offsets, numbers, left, right, product, count };

/// Memory of this thread, 64-byte aligned, valid until its next call for this use. It grows to the most that was asked
/// for and is kept, so that a loop that runs again allocates nothing.
uint8_t* thread_scratch(ScratchUse use, int64_t bytes);

/// The same as elements.
template <typename T>
T* thread_scratch_of(ScratchUse use, int64_t count) {
  return reinterpret_cast<T*>(thread_scratch(use, count * static_cast<int64_t>(sizeof(T))));
}

}  // namespace thimble::kernels
