// Functions of the libraries that the program loads when it needs them.
#pragma once

#include <dlfcn.h>

#include <thimble/core/error.h>

namespace thimble::apps {

/// A function of the library `file`, which lies beside this program's others. It is never closed: who needs it once may
/// need it again. Throws Error if it is not there, saying what it does, "reads PNG", or of another version.
template <typename Function>
Function* function_of_library(const char* file, const char* does, const char* name) {
  void* library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const char* reason = dlerror();
    throw Error(str("cannot load ", file, ", which ", does, ": ", reason ? reason : ""));
  }
  void* function = dlsym(library, name);
  check(function != nullptr, file, " is not of this version");
  return reinterpret_cast<Function*>(function);
}

}  // namespace thimble::apps
