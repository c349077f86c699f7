#include <thimble/core/kernels/training/fake_quantize_loops.h>

namespace thimble::kernels {

const FakeQuantizeKernels fake_quantize_scalar = kFakeQuantizeKernels;

}  // namespace thimble::kernels
