// A multilayer perceptron on MNIST's test images in integer arithmetic alone, as a microcontroller or an FPGA runs it,
// with the library's results bit for bit: integer_mlp MODEL.npz DATA_DIR, after thimble export ... --out MODEL.npz
#include <algorithm>
#include <bit>
#include <iostream>
#include <map>

#include <thimble/nn/data/idx.h>
#include <thimble/serialization/npz.h>

using Values = std::vector<int32_t>;  // a matrix row by row, a number as a vector of one

int bits_of(int64_t v) { return static_cast<int>(std::bit_width(static_cast<uint64_t>(std::abs(v)))); }
int64_t shift_right(int64_t v, int shift) {  // v / 2^shift, rounded half to even; v itself if shift is negative
  return shift <= 0 ? v : shift > 62 ? 0 : (v + (int64_t{1} << (shift - 1)) - 1 + (v >> shift & 1)) >> shift;
}
int64_t to_float32(int64_t v) { return shift_right(v, bits_of(v) - 24) << std::max(bits_of(v) - 24, 0); }
int32_t rank(int64_t v, int shift) {  // grows with v / 2^shift: the bits of its absolute value as float32, signed
  if (v <= 0) return v == 0 ? 0 : -rank(-v, shift);
  return ((bits_of(v) - shift + 125) << 23) + static_cast<int32_t>(v >> (bits_of(v) - 24));
}

Values run(std::map<std::string, Values>& arrays, const std::string& layer, Values x) {
  const auto &weight = arrays[layer + "weight"], &bias = arrays[layer + "bias"], &relu = arrays[layer + "relu"];
  const auto &mantissa = arrays[layer + "multiplier_mantissa"], &shift = arrays[layer + "multiplier_shift"];
  const auto &zero = arrays[layer + "output_zero_point"], &most = arrays[layer + "output_max"];  // the last has none
  if (weight.size() != bias.size() * x.size() || mantissa.size() != bias.size()) throw std::runtime_error(layer);
  for (int32_t& v : x) v = (v - arrays[layer + "input_zero_point"].at(0)) << arrays[layer + "weight_shift"].at(0);
  Values y(bias.size());
  for (size_t o = 0; o < y.size(); ++o) {
    int32_t sum = bias[o];
    for (size_t i = 0; i < x.size(); ++i) sum += x[i] * weight[o * x.size() + i];
    const int64_t product = to_float32(to_float32(sum) * mantissa[o]), v = relu[0] && product < 0 ? 0 : product;
    y[o] = most.empty() ? rank(v, shift[o]) : std::clamp<int64_t>(shift_right(v, shift[o]) + zero[0], 0, most[0]);
  }
  return y;
}

int main(int argc, char** argv) {
  if (argc != 3) return std::cerr << "usage: integer_mlp MODEL.npz DATA_DIR\n", 2;
  thimble::NDArray images = thimble::data::read_idx(argv[2] + std::string("/t10k-images-idx3-ubyte"));
  const thimble::NDArray labels = thimble::data::read_idx(argv[2] + std::string("/t10k-labels-idx1-ubyte"));
  std::map<std::string, Values> arrays;
  std::vector<std::string> layers;  // "fc1."
  for (const auto& [name, array] : thimble::load_npz(argv[1])) {
    if (array.dtype() != thimble::DType::float32) arrays[name] = array.to_vector<int32_t>();
    if (name.ends_with(".weight")) layers.push_back(name.substr(0, name.size() - 6));
  }
  if (arrays["input.table"].empty()) return std::cerr << argv[1] << " holds no quantized model\n", 1;
  if (const int crop = arrays["input.crop"].at(0))
    for (int d : {1, 2}) images = images.slice(d, (images.shape(d) - crop) / 2, (images.shape(d) + crop) / 2);
  int64_t correct = 0;
  for (int64_t i = 0; i < images.shape(0); ++i) {
    Values x;
    for (const int pixel : images.slice(0, i, i + 1).to_vector<int>()) x.push_back(arrays["input.table"].at(pixel));
    for (const std::string& layer : layers) x = run(arrays, layer, x);
    correct += std::ranges::max_element(x) - x.begin() == labels.data<uint8_t>()[i];
  }
  return std::cout << "accuracy: " << correct << " of " << images.shape(0) << '\n' ? 0 : 1;
}
