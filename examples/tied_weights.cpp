// Tied weights: a model of a text's next letter, whose last layer is the table of the letters that it reads.
//
//   build/release/examples/tied_weights
#include <iostream>

#include <thimble/thimble.h>
using namespace thimble;

constexpr int64_t kSeen = 8, kLetters = 27, kFeatures = 32;  // letters that it sees; a blank and a to z

// What follows eight letters anywhere in a counting-out text.
data::TensorDataset windows_of(const std::string& text) {
  std::vector<int64_t> seen, next;
  for (size_t i = 0; i + kSeen < text.size(); ++i) {
    for (size_t k = i; k <= i + kSeen; ++k)
      (k < i + kSeen ? seen : next).push_back(text[k] == ' ' ? 0 : text[k] - 'a' + 1);
  }
  return data::TensorDataset(
      {{"seen", NDArray::from_vector(seen, {std::ssize(next), kSeen})}, {"next", NDArray::from_vector(next)}});
}

struct NextLetter : nn::Module {
  nn::Submodule<nn::Embedding> letters{this, "letters", kLetters, kFeatures};
  nn::Submodule<nn::Linear> hidden{this, "hidden", kSeen* kFeatures, kFeatures};
  nn::Submodule<nn::Linear> out{this, "out", letters->weight, Tensor()};  // the same tensor
  Tensor forward(const Tensor& seen) override { return out(relu(hidden(letters(seen).flatten(1)))); }
};

int main() {
  manual_seed(1);
  std::string text;
  for (const char* n : {"one ", "two ", "three ", "four ", "five ", "six ", "seven ", "eight ", "nine ", "ten "})
    for (const char* m : {"red ", "blue ", "green ", "white "}) text += std::string(n) + m;
  const data::TensorDataset train = windows_of(text);
  NextLetter net;
  std::cout << net << "\nparameters: " << net.num_parameters() << '\n';
  optim::Adam adam(net.parameters(), {.lr = 1e-2});
  data::DataLoader loader(train, {.batch_size = 32, .shuffle = true, .seed = 1});
  fit(net, adam, loader, classification(), {.epochs = 40});

  const nn::Graph graph = nn::trace(net.eval(), train.example());
  save_model(graph, "tied.safetensors");
  nn::Graph loaded = load_model("tied.safetensors");
  nn::Graph int8 = quant::quantize_model(graph, std::vector<Tensor>{train.all()["seen"]});
  save_model(int8, "tied.int8.safetensors");
  std::cout << "accuracy: float32 " << accuracy(loaded, train) << ", int8 " << accuracy(int8, train) << '\n';
  const bool is_tied = load_safetensors("tied.safetensors").tensors.size() == 3;  // letters, hidden and its bias
  return is_tied && accuracy(loaded, train) > 0.9 && accuracy(int8, train) > 0.88 ? 0 : 1;
}
