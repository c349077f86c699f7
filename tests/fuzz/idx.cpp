#include "tests/fuzz/fuzz.h"
#include <thimble/nn/data/idx.h>

using namespace thimble;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::survive_file(data, size, [](const auto& path) { fuzz::touch(data::read_idx(path)); });
  return 0;
}
