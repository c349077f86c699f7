// OpenBLAS, loaded at the first product that it is to compute.
#pragma once

#include <cblas.h>

namespace thimble::kernels {

// The functions of OpenBLAS that the library calls, as <cblas.h> declares them.
struct Blas {
  decltype(&cblas_sgemm) sgemm;
  decltype(&cblas_dgemm) dgemm;
  decltype(&cblas_sgemv) sgemv;
  decltype(&cblas_dgemv) dgemv;
  const char* description;
};

// Loads OpenBLAS at the first call, from any thread: most programs never call it, and loading it takes
// several times as long as loading a model. It is set to one thread, since the library divides
// the work itself and a second pool would compete for the same cores. Throws Error if there is no OpenBLAS to load.
// While it is loaded the environment names a core type (unless it did before): programs whose threads read the
// environment at that time call this before they start them, or set OPENBLAS_CORETYPE.
const Blas& blas();

}  // namespace thimble::kernels
