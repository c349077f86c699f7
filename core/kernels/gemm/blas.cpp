#include <string>

#include <dlfcn.h>

#include <thimble/core/error.h>
#include <thimble/core/kernels/gemm/blas.h>

namespace thimble::kernels {

namespace {

std::string last_error() {
  const char* message = dlerror();
  return message ? message : "unknown error";
}

template <typename Function>
void find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  check<Error>(function, THIMBLE_OPENBLAS " has no ", name, ": it is no OpenBLAS; install libopenblas0, or build with ",
               "-DTHIMBLE_OPENBLAS=<path>");
}

Blas load() {
  // Never closed: its threads live as long as the process.
  void* library = dlopen(THIMBLE_OPENBLAS, RTLD_NOW | RTLD_LOCAL);
  if (!library)
    throw Error(str("cannot load OpenBLAS, which multiplies matrices of float64: ", last_error(),
                    "; install libopenblas0, or build with -DTHIMBLE_OPENBLAS=<path>"));
  decltype(&openblas_set_num_threads) set_num_threads;
  find(library, "openblas_set_num_threads", set_num_threads);
  set_num_threads(1);
  Blas functions;
  find(library, "cblas_sgemm", functions.sgemm);
  find(library, "cblas_dgemm", functions.dgemm);
  find(library, "cblas_sgemv", functions.sgemv);
  find(library, "cblas_dgemv", functions.dgemv);
  decltype(&openblas_get_config) get_config;
  find(library, "openblas_get_config", get_config);
  functions.description = get_config();
  return functions;
}

}  // namespace

const Blas& blas() {
  static const Blas functions = load();
  return functions;
}

}  // namespace thimble::kernels
