// Pictures for the fuzz target that reads them: fuzz_image_seeds FOLDER
#include <filesystem>
#include <fstream>
#include <iostream>

#include "tests/nn/images/jpeg_files.h"
#include "tests/nn/images/png_files.h"

namespace fs = std::filesystem;
using namespace thimble::data;

namespace {

void write_seed(const fs::path& path, const std::string& bytes) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: fuzz_image_seeds FOLDER\n";
    return 2;
  }
  const fs::path folder = fs::path(argv[1]) / "image";
  Png png{.height = 9, .width = 5, .depth = 4, .colour = kPalette, .interlaced = true, .palette = std::string(48, 'p')};
  for (uint32_t i = 0; i < 45; ++i) png.samples.push_back(i % 16);
  write_seed(folder / "palette", png_bytes(png));
  png.colour = kGrey, png.depth = 16, png.palette = "", png.interlaced = false;
  write_seed(folder / "grey", png_bytes(png));
  write_seed(folder / "rgb", plain_png(3, 4, {1, 2, 3}));
  std::vector<uint8_t> pixels;
  for (int i = 0; i < 17 * 9 * 4; ++i) pixels.push_back(static_cast<uint8_t>(i * 7));
  write_seed(folder / "jpeg", jpeg_bytes(9, 17, JCS_RGB, pixels));
  write_seed(folder / "progressive", jpeg_bytes(9, 17, JCS_RGB, pixels, true));
  write_seed(folder / "grey_jpeg", jpeg_bytes(9, 17, JCS_GRAYSCALE, pixels));
  write_seed(folder / "cmyk", jpeg_bytes(9, 17, JCS_CMYK, pixels));
  return 0;
}
