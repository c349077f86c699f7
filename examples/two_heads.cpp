// An autoencoder with two heads: one code of eight numbers, from which one head draws the picture again and the other
// names what it shows. Two losses train both.
//
//   build/release/examples/two_heads
#include <iostream>

#include <thimble/thimble.h>
using namespace thimble;

// 8 x 8 pictures of bars, of four directions, at random places, with noise.
data::Example picture(int64_t i, Generator& random) {
  const int64_t kind = i % 4, place = static_cast<int64_t>(random.next_uint32() % 8);
  NDArray image = rand({64}, random);
  for (int64_t p = 0; p < 64; ++p) {
    const int64_t row = p / 8, column = p % 8, along[] = {row, column, (row + column) % 8, (row - column + 8) % 8};
    image.data<float>()[p] = 0.2F * image.data<float>()[p] + (along[kind] == place ? 0.8F : 0.0F);
  }
  return {{"image", image}, {"kind", NDArray::full({}, static_cast<double>(kind), DType::int64)}};
}

struct TwoHeads : nn::Module {
  nn::Submodule<nn::Linear> encoder{this, "encoder", 64, 128}, code{this, "code", 128, 32};
  nn::Submodule<nn::Linear> decoder{this, "decoder", 32, 64}, classifier{this, "classifier", 32, 4};
  std::vector<Tensor> forward_outputs(std::span<const Tensor> inputs) override {
    const Tensor z = relu(code(relu(encoder(inputs[0]))));
    return {sigmoid(decoder(z)), classifier(z)};
  }
};

Tensor objective(nn::Module& net, const data::Batch& batch, Means& means) {
  const Tensor &image = batch["image"], &kind = batch["kind"];
  const std::vector<Tensor> outputs = net.call_outputs(std::vector<Tensor>{image});
  const Tensor of_drawing = mse_loss(outputs[0], image), of_name = cross_entropy(outputs[1], kind);
  means.add("squared_error", of_drawing.item<double>() * static_cast<double>(batch.size()), batch.size());
  means.add("accuracy", static_cast<double>(count_correct(outputs[1].data(), kind.data())), batch.size());
  return 10.0 * of_drawing + of_name;
}

int main() {
  manual_seed(1);
  const data::FunctionDataset train(4000, data::FunctionDataset::RandomFunction(picture));
  TwoHeads net;
  optim::Adam adam(net.parameters(), {.lr = 3e-3});
  data::DataLoader loader(train, {.batch_size = 50, .shuffle = true, .seed = 1});
  EpochLines lines(std::cout);
  fit(net, adam, loader, objective, {.epochs = 6, .callbacks = {&lines}});

  nn::Graph int8 = quant::quantize_model(nn::trace(net.eval(), train.example()), [&](nn::Graph& prepared) {
    for (const data::Batch& batch : loader) prepared(batch["image"]);
  });
  save_model(int8, "two_heads.int8.safetensors");
  nn::Graph loaded = load_model("two_heads.int8.safetensors");
  const Means of_float = evaluate(net, train, objective), of_int8 = evaluate(loaded, train, objective);
  std::cout << "accuracy: float32 " << of_float["accuracy"] << ", int8 " << of_int8["accuracy"]
            << "; squared error: " << of_float["squared_error"] << ", " << of_int8["squared_error"] << '\n';
  return of_float["accuracy"] > 0.95 && of_int8["accuracy"] > 0.94 && of_int8["squared_error"] < 0.03 ? 0 : 1;
}
