#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/mutate_json.h"
#include <thimble/serialization/safetensors.h>

using namespace thimble;

size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  return fuzz::mutate_in_place(data, size, max_size, seed, fuzz::mutate_safetensors);
}

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::survive_file(data, size, [](const auto& path) {
    for (const auto& [name, array] : load_safetensors(path).tensors) fuzz::touch(array);
  });
  return 0;
}
