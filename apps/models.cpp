#include "apps/models.h"

#include <algorithm>
#include <cmath>

#include "apps/joined.h"
#include <thimble/nn/init.h>
#include <thimble/nn/layers/activation.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/conv_bn_relu.h>
#include <thimble/nn/layers/embedding.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/nn/layers/pool.h>

namespace thimble::apps {

namespace {

/// inputs -> (hidden, ReLU) x layers -> classes
std::unique_ptr<nn::Module> mlp(const ModelOptions& options, const Shape& image_shape, int64_t classes) {
  auto model = std::make_unique<nn::Sequential>();
  int64_t width = image_shape.numel();
  for (int64_t i = 0; i < options.layers; ++i) {
    model->emplace<nn::Linear>(width, options.hidden).emplace<nn::ReLU>();
    width = options.hidden;
  }
  model->emplace<nn::Linear>(width, classes);
  return model;
}

/// The sum of a row for each word, which is what a linear layer makes of a bag of words, and begins with such a layer's
/// weights -> (ReLU, hidden) x (layers - 1) -> ReLU -> classes
std::unique_ptr<nn::Module> bow(const ModelOptions& options, int64_t words, int64_t classes) {
  check<ValueError>(options.layers >= 1, "--model bow has a hidden layer at least: --layers 1");
  auto model = std::make_unique<nn::Sequential>();
  const double bound = 1 / std::sqrt(static_cast<double>(words));
  model->emplace<nn::EmbeddingBag>(
      Tensor(nn::init::uniform({words, options.hidden}, -bound, bound)),
      nn::EmbeddingBag::Options{.mode = BagMode::sum, .padding_idx = data::Vocabulary::kPadding});
  for (int64_t i = 1; i < options.layers; ++i)
    model->emplace<nn::ReLU>().emplace<nn::Linear>(options.hidden, options.hidden);
  model->emplace<nn::ReLU>().emplace<nn::Linear>(options.hidden, classes);
  return model;
}

/// Three 3x3 convolutions of 16, 32 and 64 channels, each with batch normalization and ReLU, two 2x2 max pools between
/// them, one linear layer.
std::unique_ptr<nn::Module> cnn(const Shape& image, int64_t classes) {
  auto model = std::make_unique<nn::Sequential>();
  model->emplace<nn::ConvBNReLU>(image[0], 16, 3, nn::ConvBNReLU::Options{.padding = 1}).emplace<nn::MaxPool2d>(2);
  model->emplace<nn::ConvBNReLU>(16, 32, 3, nn::ConvBNReLU::Options{.padding = 1}).emplace<nn::MaxPool2d>(2);
  model->emplace<nn::ConvBNReLU>(32, 64, 3, nn::ConvBNReLU::Options{.padding = 1}).emplace<nn::Flatten>();
  model->emplace<nn::Linear>(64 * (image[1] / 4) * (image[2] / 4), classes);
  return model;
}

/// Needle's ResNet9: convolutions with batch normalization and ReLU, with two pairs that add their input.
std::unique_ptr<nn::Module> resnet9(const Shape& image, int64_t classes) {
  auto block = [](int64_t in, int64_t out, int64_t kernel, int64_t stride) {
    return std::make_shared<nn::ConvBNReLU>(in, out, kernel,
                                            nn::ConvBNReLU::Options{.stride = stride, .padding = kernel / 2});
  };
  auto pair = [&](int64_t channels) {
    auto body = std::make_shared<nn::Sequential>();
    body->add(block(channels, channels, 3, 1)).add(block(channels, channels, 3, 1));
    return std::make_shared<nn::Residual>(body);
  };
  // What the strides of 4, 2, 2 and 2 leave of a side.
  auto reduced = [](int64_t size) { return (((((size - 1) / 4) / 2) / 2) / 2) + 1; };
  auto model = std::make_unique<nn::Sequential>();
  model->add(block(image[0], 16, 7, 4)).add(block(16, 32, 3, 2)).add(pair(32));
  model->add(block(32, 64, 3, 2)).add(block(64, 128, 3, 2)).add(pair(128));
  model->emplace<nn::Flatten>()
      .emplace<nn::Linear>(128 * reduced(image[1]) * reduced(image[2]), 128)
      .emplace<nn::ReLU>()
      .emplace<nn::Linear>(128, classes);
  return model;
}

void check_known(const std::string& name) {
  if (std::ranges::count(model_names(), name) > 0) return;
  throw ValueError(str("unknown model '", name, "'; there are ", joined(model_names(), ", ")));
}

}  // namespace

const std::vector<std::string>& model_names() {
  static const std::vector<std::string> names{"mlp", "cnn", "resnet9", "bow"};
  return names;
}

bool takes_texts(const ModelOptions& options) {
  check_known(options.name);
  return options.name == "bow";
}

data::Preprocessing preprocessing_for(const ModelOptions& options, const std::string& dataset) {
  check_known(options.name);
  const bool is_coloured = dataset == "cifar10";
  data::Preprocessing preprocessing{
      .crop = options.crop, .channels = is_coloured ? 3 : 1, .flatten = options.name == "mlp"};
  if (options.name == "resnet9" && !is_coloured) preprocessing.pad = 2, preprocessing.channels = 3;
  return preprocessing;
}

std::unique_ptr<nn::Module> make_model(const ModelOptions& options, const NamedDataset& dataset,
                                       const Preparation& preparation) {
  check_known(options.name);
  if (options.name == "bow") return bow(options, preparation.vocabulary->size(), dataset.classes);
  if (options.name == "mlp") return mlp(options, dataset.input_shape, dataset.classes);
  return options.name == "cnn" ? cnn(dataset.input_shape, dataset.classes)
                               : resnet9(dataset.input_shape, dataset.classes);
}

}  // namespace thimble::apps
