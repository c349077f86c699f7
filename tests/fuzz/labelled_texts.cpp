#include "tests/fuzz/fuzz.h"
#include <thimble/nn/data/text.h>

using namespace thimble;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::survive_file(data, size, [](const auto& path) { data::read_labelled_texts(path.string()); });
  return 0;
}
