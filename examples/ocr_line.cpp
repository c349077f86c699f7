// Reads the text of a picture of one line, by a network of PP-OCR as ONNX: import, run, decode.
//
//   convert line.png -resize x48 line.ppm
//   build/release/examples/ocr_line ppocr_rec.onnx ppocr_keys.txt line.ppm
//
// The network takes BGR images [n, 3, 48, width] of values from -1 to 1, and gives for every 8 columns a probability
// for each character [n, width / 8, characters]: the first is the blank, the last a space, those between are the lines
// of the file of keys.
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include <thimble/serialization/onnx/import.h>
#include <thimble/thimble.h>
using namespace thimble;

// A binary PPM file as an image [1, 3, 48, width].
Tensor read_line(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string magic;
  int64_t width = 0, height = 0, most = 0;
  file >> magic >> width >> height >> most;
  file.get();
  if (!file || magic != "P6" || most != 255 || height != 48 || width < 8 || width > 100000)
    throw ValueError(path + " is no binary PPM image of height 48: convert line.png -resize x48 line.ppm");
  std::vector<uint8_t> rgb(static_cast<size_t>(width * height * 3));
  if (!file.read(reinterpret_cast<char*>(rgb.data()), static_cast<std::streamsize>(rgb.size())))
    throw IOError(path + " is cut off");

  NDArray image({1, 3, height, width});
  float* to = image.data<float>();
  for (int64_t c = 2; c >= 0; --c)  // blue first
    for (int64_t pixel = 0; pixel < width * height; ++pixel)
      *to++ = static_cast<float>(rgb[static_cast<size_t>(pixel * 3 + c)]) / 127.5f - 1;
  return Tensor(image);
}

std::vector<std::string> read_characters(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::string> characters{""};  // the blank
  for (std::string line; std::getline(file, line);) characters.push_back(line);
  if (characters.size() == 1) throw IOError("cannot read characters from " + path);
  characters.push_back(" ");
  return characters;
}

// The likeliest character of each place; neighbours that are equal are one character that is wide.
std::string decode(const Tensor& probabilities, const std::vector<std::string>& characters) {
  std::string text;
  int64_t before = 0;
  for (const int64_t best : argmax(probabilities.data(), -1).to_vector<int64_t>()) {
    if (best != before) text += characters.at(static_cast<size_t>(best));
    before = best;
  }
  return text;
}

int main(int argc, char** argv) try {
  if (argc < 4) throw ValueError("usage: ocr_line MODEL.onnx KEYS.txt LINE.ppm...");
  nn::Graph network = onnx::import_model(argv[1]);
  const std::vector<std::string> characters = read_characters(argv[2]);
  for (int i = 3; i < argc; ++i) std::cout << decode(network(read_line(argv[i])), characters) << '\n';
  return 0;
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
