// From a model class to a quantized file and back: train an MLP on MNIST, quantize it, save it, load it without its
// class.
//
//   scripts/fetch-mnist && build/release/examples/quickstart
#include <cstdlib>
#include <iostream>

#include <thimble/thimble.h>
using namespace thimble;

struct Net : nn::Module {
  nn::Submodule<nn::Linear> fc1{this, "fc1", 28 * 28, 128};
  nn::Submodule<nn::Linear> fc2{this, "fc2", 128, 128};
  nn::Submodule<nn::Linear> fc3{this, "fc3", 128, 10};

  Tensor forward(const Tensor& x) override {
    Tensor h = relu(fc1(flatten(x, 1)));
    h = relu(h + fc2(h));  // a residual written with plain ops: the tracer sees it
    return fc3(h);
  }
};

int main() {
  // Fewer images make a quicker run; -1 is all of them.
  const char* images_wanted = std::getenv("QUICKSTART_IMAGES");
  const int64_t limit = images_wanted ? std::atoll(images_wanted) : -1;

  data::MNIST train("data/mnist", data::Split::train), test("data/mnist", data::Split::test);
  Net net;
  optim::Adam adam(net.parameters(), {.lr = 1e-3});
  data::DataLoader loader(train, {.batch_size = 64, .shuffle = true, .seed = 1, .limit = limit});
  for (auto& [images, labels] : loader) {
    Tensor loss = cross_entropy(net(images), labels);
    adam.zero_grad();
    loss.backward();
    adam.step();
  }

  nn::Graph graph = quant::fuse_conv_bn_relu(nn::trace(net.eval(), train.example()));
  nn::Graph prepared = quant::prepare(graph, quant::QConfigMapping::static_int8());
  data::DataLoader calibration(train, {.batch_size = 64, .limit = 512});
  for (auto& [images, labels] : calibration) prepared(images);
  nn::Graph int8 = quant::convert(prepared);

  save_model(int8, "net.int8.safetensors");
  nn::Graph loaded = load_model("net.int8.safetensors");  // no Net needed
  std::cout << loaded.table() << "accuracy: float32 " << accuracy(graph, test) << ", int8 " << accuracy(loaded, test)
            << '\n';
}
