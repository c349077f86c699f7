#include "tests/fuzz/fuzz.h"
#include <thimble/serialization/npz.h>

using namespace thimble;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::survive_file(data, size, [](const auto& path) {
    for (const auto& [name, array] : load_npz(path)) fuzz::touch(array);
  });
  return 0;
}
