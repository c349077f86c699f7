// A PyTorch model's weights in Thimble: from_pytorch FOLDER, after state_dict.py FOLDER. Loads them by name, compares
// the answers with PyTorch's, and saves the model as one that the program thimble can quantize and run.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iostream>

#include "net.h"

using namespace thimble;

double largest_difference(const NDArray& a, const NDArray& b) {
  const auto x = a.to_vector<double>(), y = b.to_vector<double>();
  double largest = 0;
  for (size_t i = 0; i < x.size(); ++i) largest = std::max(largest, std::abs(x[i] - y[i]));
  return largest;
}

int main(int argc, char** argv) try {
  check(argc == 2, "from_pytorch FOLDER, after python3 state_dict.py FOLDER");
  const std::filesystem::path folder = argv[1];

  from_pytorch::Net net;
  // Everything must fit. For a part of a model, or a part of a file: load_state(tensors, {.strict = false}), which
  // returns the names that were missing and those that were not expected.
  net.load_state(load_safetensors(folder / "net.safetensors").tensors);
  net.eval();

  const auto answers = load_safetensors(folder / "answers.safetensors").tensors;
  const NDArray &x = answers.at(0).second, &y = answers.at(1).second;
  NoGrad guard;
  std::cout << "PyTorch and Thimble differ by at most " << largest_difference(net(x).data(), y) << '\n';

  save_model(nn::trace(net, x), folder / "model.safetensors");
  std::cout << "saved " << (folder / "model.safetensors").string() << "; see thimble inspect\n";
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
