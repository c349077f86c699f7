// The models and shapes for which speed is quoted.
#pragma once

#include <memory>
#include <string>

#include <apps/models.h>

#include <thimble/thimble.h>

namespace thimble::bench {

struct Reference {
  std::string name;
  apps::ModelOptions options;
  int64_t training_batch;
};

inline const Reference kReferences[] = {
    {"mlp1024", {.name = "mlp", .hidden = 1024, .layers = 2, .crop = 20}, 64},
    {"mlp128", {.name = "mlp", .hidden = 128, .layers = 2}, 64},
    {"cnn", {.name = "cnn"}, 64},
    {"resnet9", {.name = "resnet9"}, 128},
};

inline Shape input_shape(const Reference& reference) {
  return apps::preprocessing_for(reference.options, "mnist", 1).output_shape(28, 28);
}

inline std::unique_ptr<nn::Module> make(const Reference& reference) {
  manual_seed(0);
  return apps::make_model(reference.options, {.input_shape = input_shape(reference)}, {});
}

/// Uniform in [0, 1), as pixels are.
inline Tensor images(const Reference& reference, int64_t batch_size) {
  Shape shape = input_shape(reference);
  shape.insert(0, batch_size);
  Generator generator(1);
  return rand(shape, generator);
}

/// As training leaves it.
inline nn::Graph traced_graph(const Reference& reference) {
  return nn::trace(make(reference)->eval(), images(reference, 1));
}

/// The same, fused.
inline nn::Graph float_graph(const Reference& reference) { return quant::fuse_conv_bn_relu(traced_graph(reference)); }

/// The same network in integers, calibrated on random images.
inline nn::Graph int8_graph(const Reference& reference) {
  return quant::quantize_model(float_graph(reference), [&](nn::Graph& g) { g(images(reference, 512)); });
}

}  // namespace thimble::bench
