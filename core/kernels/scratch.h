// Memory for a kernel's intermediate results.
#pragma once

#include <cstdint>

namespace thimble::kernels {

/// Memory of this thread, 64-byte aligned, valid until its next call. It grows to the most that was asked for and is
/// kept, so that a loop that runs again allocates nothing.
uint8_t* thread_scratch(int64_t bytes);

/// The same as elements.
template <typename T>
T* thread_scratch_of(int64_t count) {
  return reinterpret_cast<T*>(thread_scratch(count * static_cast<int64_t>(sizeof(T))));
}

}  // namespace thimble::kernels
