#include "tests/fuzz/fuzz.h"
#include <thimble/nn/images/read_image.h>

using namespace thimble;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::Folder folder;
  const std::filesystem::path file = folder / "f";
  std::ofstream(file, std::ios::binary).write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  fuzz::survive([&] {
    const NDArray pixels = data::read_image(file, {.max_pixels = 1 << 20});
    fuzz::touch(pixels);
    if (pixels.numel() < 1 << 16) fuzz::touch(data::resize_image(pixels, {7, 5}));
  });
  return 0;
}
