#include "apps/models.h"

#include <algorithm>

#include "apps/joined.h"
#include "apps/text_models.h"
#include <thimble/nn/layers/activation.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/conv_bn_relu.h>
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

/// Three 3x3 convolutions of 16, 32 and 64 channels, each with batch normalization and ReLU, two 2x2 max pools between
/// them, one linear layer.
std::unique_ptr<nn::Module> cnn(const ModelOptions&, const Shape& image, int64_t classes) {
  auto model = std::make_unique<nn::Sequential>();
  model->emplace<nn::ConvBNReLU>(image[0], 16, 3, nn::ConvBNReLU::Options{.padding = 1}).emplace<nn::MaxPool2d>(2);
  model->emplace<nn::ConvBNReLU>(16, 32, 3, nn::ConvBNReLU::Options{.padding = 1}).emplace<nn::MaxPool2d>(2);
  model->emplace<nn::ConvBNReLU>(32, 64, 3, nn::ConvBNReLU::Options{.padding = 1}).emplace<nn::Flatten>();
  model->emplace<nn::Linear>(64 * (image[1] / 4) * (image[2] / 4), classes);
  return model;
}

/// Needle's ResNet9: convolutions with batch normalization and ReLU, with two pairs that add their input.
std::unique_ptr<nn::Module> resnet9(const ModelOptions&, const Shape& image, int64_t classes) {
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

using MakeOfImages = std::unique_ptr<nn::Module> (*)(const ModelOptions& options, const Shape& image, int64_t classes);
using MakeOfTexts = std::unique_ptr<nn::Module> (*)(const ModelOptions& options, int64_t words, int64_t classes);

// Makes a model of images or of texts; the other is null.
struct KnownModel {
  std::string name;
  MakeOfImages of_images = nullptr;
  MakeOfTexts of_texts = nullptr;
};

const std::vector<KnownModel>& known_models() {
  static const std::vector<KnownModel> models{{.name = "mlp", .of_images = mlp},
                                              {.name = "cnn", .of_images = cnn},
                                              {.name = "resnet9", .of_images = resnet9},
                                              {.name = "bow", .of_texts = bow},
                                              {.name = "lstm", .of_texts = lstm_classifier},
                                              {.name = "transformer", .of_texts = transformer_classifier}};
  return models;
}

const KnownModel& known_model(const std::string& name) {
  const auto it = std::ranges::find(known_models(), name, &KnownModel::name);
  check<ValueError>(it != known_models().end(), "unknown model '", name, "'; there are ", joined(model_names(), ", "));
  return *it;
}

// Two pools halve the sides of what cnn sees.
void check_takes(const ModelOptions& options, const Shape& image) {
  const int64_t least = options.name == "cnn" ? 4 : 1;
  check<ValueError>(image.ndim() == 3 && image[1] >= least && image[2] >= least, "--model ", options.name,
                    " takes pictures [channels, height, width] of ", least, " x ", least,
                    " pixels or more, and these examples are ", image, "; --model mlp takes any");
}

}  // namespace

const std::vector<std::string>& model_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const KnownModel& entry : known_models()) all.push_back(entry.name);
    return all;
  }();
  return names;
}

bool takes_texts(const ModelOptions& options) { return known_model(options.name).of_texts != nullptr; }

data::Preprocessing preprocessing_for(const ModelOptions& options, const std::string& dataset, int64_t channels) {
  known_model(options.name);
  data::Preprocessing preprocessing{.crop = options.crop, .channels = channels, .flatten = options.name == "mlp"};
  const bool is_like_mnist = dataset == "mnist" || dataset == "fashion-mnist";
  if (options.name == "resnet9" && is_like_mnist) preprocessing.pad = 2, preprocessing.channels = 3;
  return preprocessing;
}

std::unique_ptr<nn::Module> make_model(const ModelOptions& options, const NamedDataset& dataset,
                                       const Preparation& preparation) {
  const KnownModel& model = known_model(options.name);
  if (model.of_texts) return model.of_texts(options, preparation.vocabulary->size(), dataset.classes);
  if (options.name != "mlp") check_takes(options, dataset.input_shape);
  return model.of_images(options, dataset.input_shape, dataset.classes);
}

}  // namespace thimble::apps
