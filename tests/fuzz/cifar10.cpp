#include "tests/fuzz/fuzz.h"
#include <thimble/nn/data/cifar10.h>

using namespace thimble;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::Folder folder;
  const std::filesystem::path file = folder / "test_batch.bin";
  std::ofstream(file, std::ios::binary).write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  fuzz::survive([&] {
    const data::CIFAR10 images(file.parent_path().string(), data::Split::test);
    fuzz::touch(images.pixels());
    fuzz::touch(images.labels());
  });
  return 0;
}
