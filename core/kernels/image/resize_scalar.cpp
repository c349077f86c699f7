#include <thimble/core/kernels/image/resize_loops.h>

namespace thimble::kernels {

const ResizeTable resize_scalar = kResizeLoops;

}  // namespace thimble::kernels
