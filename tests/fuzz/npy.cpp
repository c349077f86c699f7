#include "tests/fuzz/fuzz.h"
#include <thimble/serialization/npy.h>

using namespace thimble;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::survive_file(data, size, [](const auto& path) { fuzz::touch(load_npy(path)); });
  return 0;
}
