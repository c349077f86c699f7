#include "apps/models.h"

#include <algorithm>

#include <thimble/nn/activation.h>
#include <thimble/nn/container.h>
#include <thimble/nn/linear.h>

namespace thimble::apps {

namespace {

constexpr int64_t kClasses = 10;

/// inputs -> (hidden, ReLU) x layers -> 10
std::unique_ptr<nn::Module> mlp(const ModelOptions& options, const Shape& image_shape) {
  auto model = std::make_unique<nn::Sequential>();
  int64_t width = image_shape.numel();
  for (int64_t i = 0; i < options.layers; ++i) {
    model->emplace<nn::Linear>(width, options.hidden).emplace<nn::ReLU>();
    width = options.hidden;
  }
  model->emplace<nn::Linear>(width, kClasses);
  return model;
}

void check_known(const std::string& name) {
  check(std::ranges::count(model_names(), name) > 0, "unknown model '", name, "'; there is: mlp");
}

}  // namespace

const std::vector<std::string>& model_names() {
  static const std::vector<std::string> names{"mlp"};
  return names;
}

data::Preprocessing preprocessing_for(const ModelOptions& options) {
  check_known(options.name);
  return {.crop = options.crop, .flatten = true};
}

std::unique_ptr<nn::Module> make_model(const ModelOptions& options, const Shape& image_shape) {
  check_known(options.name);
  return mlp(options, image_shape);
}

}  // namespace thimble::apps
