#include <thimble/core/kernels/training/optimizer_loops.h>

namespace thimble::kernels {

constinit const OptimizerTable optimizer_scalar = kTable;

}  // namespace thimble::kernels
