#include <thimble/core/kernels/image/resize_loops.h>

namespace thimble::kernels {

const ResizeTable resize_avx512 = kResizeLoops;

}  // namespace thimble::kernels
