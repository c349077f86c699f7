// Denormal numbers as zeros, for loops that meet many of them.
#pragma once

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace thimble::kernels {

/// While it lives, this thread's arithmetic takes denormal operands as 0 and gives 0 for denormal results. A
/// multiplication with a denormal costs over a hundred cycles on x86 CPUs; on others this does nothing.
class FlushDenormals {
 public:
#if defined(__x86_64__)
  FlushDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | kFlushToZero | kDenormalsAreZero); }
  ~FlushDenormals() { _mm_setcsr(before_); }

 private:
  static constexpr unsigned kFlushToZero = 0x8000, kDenormalsAreZero = 0x0040;
  unsigned before_;

 public:
#else
  FlushDenormals() {}
#endif
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;
};

}  // namespace thimble::kernels
