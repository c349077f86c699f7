#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include <dlfcn.h>

#include <thimble/core/error.h>
#include <thimble/core/kernels/gemm/blas.h>
#include <thimble/core/platform/isa.h>

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

// What OpenBLAS calls the kernels for what this processor can do; null: let it choose. Of processors that are newer
// than itself it knows nothing: 0.3.21 takes Intel's from Raptor Lake on for one of 2004, and AMD's with AVX-512 for
// ones without.
const char* core_type() {
  const std::vector<Isa> isas = available_isas();
  const auto has = [&](Isa isa) { return std::ranges::find(isas, isa) != isas.end(); };
  return has(Isa::avx512) ? "SkylakeX" : has(Isa::avx2) ? "Haswell" : nullptr;
}

// Tells OpenBLAS, which looks there while it is loaded, unless the user has.
class CoreType {
 public:
  CoreType() {
    const char* own = std::getenv(kName) ? nullptr : core_type();
    is_ours_ = own && setenv(kName, own, 1) == 0;
  }
  ~CoreType() {
    if (is_ours_) unsetenv(kName);
  }
  CoreType(const CoreType&) = delete;
  CoreType& operator=(const CoreType&) = delete;

 private:
  static constexpr const char* kName = "OPENBLAS_CORETYPE";

  bool is_ours_;
};

Blas load() {
  const CoreType told;
  // Never closed: its threads live as long as the process.
  void* library = dlopen(THIMBLE_OPENBLAS, RTLD_NOW | RTLD_LOCAL);
  if (!library)
    throw Error(str("cannot load OpenBLAS, which is to multiply: ", last_error(),
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
