// Trains an imported network on: a classifier of ImageNet learns digits. Its last layer is a new one, all others are
// frozen; it is trained with the rounding of 8-bit integers, and leaves as ONNX again, to be run in integers.
//
//   scripts/fetch-mnist && build/release/examples/fine_tune_onnx resnet18.onnx digits.int8.onnx
//
// Takes any network of images [n, 3, height, width] of free size that ends in a fully connected layer.
#include <cstdlib>
#include <iostream>

#include <thimble/serialization/onnx/export.h>
#include <thimble/serialization/onnx/import.h>
#include <thimble/thimble.h>
using namespace thimble;

// Digits as pictures of three colours, twice as large.
Tensor as_pictures(const Tensor& digits) {
  return upsample_nearest2d(broadcast_to(digits, {digits.shape(0), 3, digits.shape(2), digits.shape(3)}), 2);
}

nn::Node* last_linear(const nn::Graph& net) {
  nn::Node* last = nullptr;
  for (nn::Node* node : net.nodes())
    if (net.is_layer(node, "Linear")) last = node;
  if (!last) throw ValueError("the network has no fully connected layer");
  return last;
}

double accuracy_on(nn::Graph& net, const data::MNIST& digits, int64_t limit) {
  const NoGrad guard;
  int64_t right = 0, seen = 0;
  data::DataLoader loader(digits, {.batch_size = 50, .limit = limit});
  for (auto& [images, labels] : loader) {
    const std::vector<int64_t> answers = argmax(net(as_pictures(images)).data(), 1).to_vector<int64_t>();
    const std::vector<int64_t> wanted = labels.data().to_vector<int64_t>();
    for (size_t i = 0; i < answers.size(); ++i) right += answers[i] == wanted[i];
    seen += static_cast<int64_t>(answers.size());
  }
  return static_cast<double>(right) / static_cast<double>(seen);
}

int main(int argc, char** argv) try {
  if (argc != 3) throw ValueError("usage: fine_tune_onnx MODEL.onnx OUT.onnx");
  // Fewer images make a quicker run.
  const char* images_wanted = std::getenv("FINE_TUNE_IMAGES");
  const int64_t limit = images_wanted ? std::atoll(images_wanted) : 6400;

  nn::Graph net = onnx::import_model(argv[1]);
  for (Tensor& parameter : net.parameters()) parameter.set_requires_grad(false);
  nn::Node* last = last_linear(net);
  net.replace_layer(last, std::make_shared<nn::Linear>(net.layer_as<nn::Linear>(last)->in_features(), 10));

  nn::Graph qat = quant::prepare_qat(net, quant::QConfigMapping::static_int8());
  quant::freeze_bn_stats(qat);
  const data::MNIST train("data/mnist", data::Split::train), test("data/mnist", data::Split::test);
  optim::Adam adam(qat.parameters(), {.lr = 2e-3});
  data::DataLoader loader(train, {.batch_size = 32, .shuffle = true, .seed = 1, .limit = limit});
  for (auto& [images, labels] : loader) {
    const Tensor loss = cross_entropy(qat(as_pictures(images)), labels);
    adam.zero_grad();
    loss.backward();
    adam.step();
  }
  qat.eval();
  nn::Graph int8 = quant::convert(qat);
  std::cout << "accuracy in integers: " << accuracy_on(int8, test, 1000) << '\n';
  onnx::export_model(int8, argv[2]);
  return 0;
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
