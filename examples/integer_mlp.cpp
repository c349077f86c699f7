// A multilayer perceptron on MNIST's test images in integer arithmetic alone, as a microcontroller or an FPGA runs it,
// with the library's results bit for bit: integer_mlp MODEL.npz DATA_DIR, after thimble export ... --out MODEL.npz
#include <algorithm>
#include <bit>
#include <iostream>
#include <map>

#include <thimble/nn/data/idx.h>
#include <thimble/serialization/npz.h>

using Values = std::vector<int32_t>;  // a matrix row by row, a number as a vector of one
using Arrays = std::map<std::string, Values>;

const Values& find(const Arrays& arrays, const std::string& layer, const std::string& name, size_t count) {
  const auto found = arrays.find(layer + name);
  thimble::check(found != arrays.end() && (count == 0 || found->second.size() == count), "no '", layer, name,
                 "' as of a static model of linear layers with a scale for each channel");
  return found->second;
}

int bits_of(int64_t v) { return static_cast<int>(std::bit_width(static_cast<uint64_t>(std::abs(v)))); }
int64_t shift_right(int64_t v, int shift) {  // v / 2^shift, rounded half to even; v itself if shift is negative
  return shift <= 0 ? v : shift > 62 ? 0 : (v + (int64_t{1} << (shift - 1)) - 1 + (v >> shift & 1)) >> shift;
}
int64_t to_float32(int64_t v) { return shift_right(v, bits_of(v) - 24) << std::max(bits_of(v) - 24, 0); }
int32_t rank(int64_t v, int shift) {  // grows with v / 2^shift: the bits of its absolute value as float32, signed
  if (v <= 0) return v == 0 ? 0 : -rank(-v, shift);
  return ((bits_of(v) - shift + 125) << 23) + static_cast<int32_t>(v >> (bits_of(v) - 24));
}

Values run(const Arrays& arrays, const std::string& layer, Values x) {
  const auto array = [&](const char* name, size_t count) -> auto& { return find(arrays, layer, name, count); };
  const size_t out = array(".bias", 0).size();
  const bool relu = array(".relu", 1)[0], last = !arrays.contains(layer + ".output_max");
  const int32_t zero = last ? 0 : array(".output_zero_point", 1)[0], most = last ? 0 : array(".output_max", 1)[0];
  const Values &weight = array(".weight", out * x.size()), &bias = array(".bias", out);
  const Values &mantissa = array(".multiplier_mantissa", out), &shift = array(".multiplier_shift", out);
  const int32_t x_zero = array(".input_zero_point", 1)[0], weight_shift = array(".weight_shift", 1)[0];
  for (int32_t& v : x) v = (v - x_zero) << weight_shift;
  Values y = bias;
  for (size_t o = 0; o < out; ++o) {
    for (size_t i = 0; i < x.size(); ++i) y[o] += x[i] * weight[o * x.size() + i];
    const int64_t product = to_float32(to_float32(y[o]) * mantissa[o]), v = relu && product < 0 ? 0 : product;
    y[o] = last ? rank(v, shift[o]) : std::clamp<int64_t>(shift_right(v, shift[o]) + zero, 0, most);
  }
  return y;
}

int main(int argc, char** argv) try {
  if (argc != 3) return std::cerr << "usage: integer_mlp MODEL.npz DATA_DIR\n", 2;
  Arrays arrays;
  std::vector<std::string> layers;
  for (const auto& [name, array] : thimble::load_npz(argv[1])) {
    if (array.dtype() != thimble::DType::float32) arrays[name] = array.to_vector<int32_t>();
    if (name.ends_with(".weight")) layers.push_back(name.substr(0, name.size() - 7));
  }
  const auto input = [&](const char* name, size_t count) -> auto& { return find(arrays, "input", name, count); };
  thimble::check(input(".pad", 1)[0] == 0 && input(".channels", 1)[0] == 1, "images are padded or of several channels");
  thimble::NDArray images = thimble::data::read_idx(thimble::str(argv[2], "/t10k-images-idx3-ubyte"));
  const thimble::NDArray labels = thimble::data::read_idx(thimble::str(argv[2], "/t10k-labels-idx1-ubyte"));
  thimble::check(images.ndim() == 3 && labels.shape() == thimble::Shape{images.shape(0)}, "not one label an image");
  const Values &table = input(".table", 256), &crop = input(".crop", 1);
  int64_t correct = 0;
  for (int d : {1, 2})
    if (crop[0] > 0) images = images.slice(d, (images.shape(d) - crop[0]) / 2, (images.shape(d) + crop[0]) / 2);
  for (int64_t i = 0; i < labels.numel(); ++i) {
    Values x = images.slice(0, i, i + 1).to_vector<int32_t>();
    for (int32_t& pixel : x) pixel = table[pixel];
    for (const std::string& layer : layers) x = run(arrays, layer, x);
    correct += std::ranges::max_element(x) - x.begin() == labels.data<uint8_t>()[i];
  }
  return std::cout << "accuracy: " << correct << " of " << labels.numel() << '\n' ? 0 : 1;
} catch (const std::exception& error) {
  return std::cerr << "integer_mlp: " << error.what() << '\n', 1;
}
