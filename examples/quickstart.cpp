// From a model class to a quantized file and back: train a convolutional network on MNIST, quantize it, save it, load
// it without its class.
//
//   scripts/fetch-mnist && build/release/examples/quickstart
#include <cstdlib>
#include <iostream>

#include <thimble/thimble.h>
using namespace thimble;

struct Net : nn::Module {
  nn::Submodule<nn::Conv2d> conv1{this, "conv1", 1, 16, 3, {.padding = 1}};
  nn::Submodule<nn::BatchNorm2d> bn1{this, "bn1", 16};
  nn::Submodule<nn::Conv2d> conv2{this, "conv2", 16, 16, 3, {.padding = 1}};
  nn::Submodule<nn::BatchNorm2d> bn2{this, "bn2", 16};
  nn::Submodule<nn::Linear> fc{this, "fc", 16 * 14 * 14, 10};

  Tensor forward(const Tensor& x) override {
    Tensor h = relu(bn1(conv1(x)));
    h = relu(h + bn2(conv2(h)));  // a residual written with plain ops: the tracer sees it
    return fc(flatten(max_pool2d(h, 2), 1));
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
