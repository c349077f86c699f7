// Well-known architectures as thimble::nn modules, with random weights, for measuring inference.
//
// Layers and sizes are torchvision's, but for the U-net (Ronneberger et al. 2015, with batch normalization and padding)
// and the patch encoder, a small vision transformer (Dosovitskiy et al. 2021).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <thimble/thimble.h>

namespace thimble::bench {

// Statistics are those of the last batch.
inline constexpr nn::BatchNorm::Options kNorm{.momentum = 1};

using Activation = Tensor (*)(const Tensor&);
inline Tensor identity(const Tensor& x) { return x; }

/// Adds a convolution that keeps the size, up to its stride, batch normalization and an activation.
struct ConvNorm : nn::Module {
  struct Options {
    int64_t stride = 1, groups = 1;
    Activation activation = relu;
  };
  ConvNorm(int64_t in, int64_t out, int64_t kernel, Options o)
      : conv{this, "conv", in,
             out,  kernel, {.stride = o.stride, .padding = kernel / 2, .groups = o.groups, .bias = false}},
        norm{this, "norm", out, kNorm},
        activation(o.activation) {}
  Tensor forward(const Tensor& x) override { return activation(norm(conv(x))); }

  nn::Submodule<nn::Conv2d> conv;
  nn::Submodule<nn::BatchNorm2d> norm;
  Activation activation;
};

inline std::shared_ptr<nn::Module> conv_norm(int64_t in, int64_t out, int64_t kernel, ConvNorm::Options options = {}) {
  return std::make_shared<ConvNorm>(in, out, kernel, options);
}

inline std::shared_ptr<nn::Module> sequence(const std::vector<std::shared_ptr<nn::Module>>& modules) {
  auto result = std::make_shared<nn::Sequential>();
  for (const auto& module : modules) result->add(module);
  return result;
}

/// relu(body(x) + shortcut(x)); a null shortcut hands x on.
struct ResidualBlock : nn::Module {
  ResidualBlock(const std::shared_ptr<nn::Module>& main, const std::shared_ptr<nn::Module>& side)
      : body(main), shortcut(side) {
    register_module("body", body);
    if (shortcut) register_module("shortcut", shortcut);
  }
  Tensor forward(const Tensor& x) override { return relu((*body)(x) + (shortcut ? (*shortcut)(x) : x)); }
  std::shared_ptr<nn::Module> body, shortcut;
};

/// Four stages of `depths` blocks: of two 3x3 convolutions, or bottlenecks of a quarter of the channels.
inline std::shared_ptr<nn::Module> resnet(const std::vector<int64_t>& depths, bool bottleneck) {
  auto model = std::make_shared<nn::Sequential>();
  model->add(conv_norm(3, 64, 7, {.stride = 2}));
  model->emplace<nn::MaxPool2d>(3, nn::MaxPool2d::Options{.stride = 2, .padding = 1});
  int64_t in = 64;
  for (size_t stage = 0; stage < depths.size(); ++stage)
    for (int64_t block = 0; block < depths[stage]; ++block) {
      const int64_t width = int64_t{64} << stage, out = bottleneck ? 4 * width : width;
      const int64_t stride = stage > 0 && block == 0 ? 2 : 1;
      const auto body = bottleneck ? sequence({conv_norm(in, width, 1), conv_norm(width, width, 3, {.stride = stride}),
                                               conv_norm(width, out, 1, {.activation = identity})})
                                   : sequence({conv_norm(in, width, 3, {.stride = stride}),
                                               conv_norm(width, out, 3, {.activation = identity})});
      const bool fits = stride == 1 && in == out;
      model->add(std::make_shared<ResidualBlock>(
          body, fits ? nullptr : conv_norm(in, out, 1, {.stride = stride, .activation = identity})));
      in = out;
    }
  model->emplace<nn::AdaptiveAvgPool2d>(1).emplace<nn::Flatten>().emplace<nn::Linear>(in, 1000);
  return model;
}

/// The nearest multiple of 8 that is not below 0.9 of it.
inline int64_t to_multiple_of_8(double channels) {
  const int64_t near = std::max<int64_t>(8, static_cast<int64_t>(channels + 4) / 8 * 8);
  return static_cast<double>(near) < 0.9 * channels ? near + 8 : near;
}

/// Each channel times a number in [0, 1] that follows from the means of all channels (Hu et al. 2018).
struct SqueezeExcitation : nn::Module {
  explicit SqueezeExcitation(int64_t channels)
      : squeeze{this, "squeeze", channels, to_multiple_of_8(static_cast<double>(channels) / 4), 1},
        excite{this, "excite", to_multiple_of_8(static_cast<double>(channels) / 4), channels, 1} {}
  Tensor forward(const Tensor& x) override { return x * hardsigmoid(excite(relu(squeeze(global_avg_pool2d(x))))); }
  nn::Submodule<nn::Conv2d> squeeze, excite;
};

/// A wide block whose middle is a depthwise convolution, between narrow values that are added.
struct InvertedResidual : nn::Module {
  struct Options {
    int64_t in, wide, out, kernel = 3, stride = 1;
    bool squeezes = false;
    Activation activation = relu6;
  };
  explicit InvertedResidual(const Options& o) : adds(o.stride == 1 && o.in == o.out) {
    auto layers = std::make_shared<nn::Sequential>();
    if (o.wide != o.in) layers->add(conv_norm(o.in, o.wide, 1, {.activation = o.activation}));
    layers->add(
        conv_norm(o.wide, o.wide, o.kernel, {.stride = o.stride, .groups = o.wide, .activation = o.activation}));
    if (o.squeezes) layers->emplace<SqueezeExcitation>(o.wide);
    layers->add(conv_norm(o.wide, o.out, 1, {.activation = identity}));
    body = layers;
    register_module("body", body);
  }
  Tensor forward(const Tensor& x) override { return adds ? x + (*body)(x) : (*body)(x); }
  bool adds;
  std::shared_ptr<nn::Module> body;
};

inline std::shared_ptr<nn::Module> mobilenet_v2() {
  struct Stage {
    int64_t expansion, channels, depth, stride;
  };
  auto model = std::make_shared<nn::Sequential>();
  model->add(conv_norm(3, 32, 3, {.stride = 2, .activation = relu6}));
  int64_t in = 32;
  for (const Stage& s : {Stage{1, 16, 1, 1}, Stage{6, 24, 2, 2}, Stage{6, 32, 3, 2}, Stage{6, 64, 4, 2},
                         Stage{6, 96, 3, 1}, Stage{6, 160, 3, 2}, Stage{6, 320, 1, 1}})
    for (int64_t block = 0; block < s.depth; ++block, in = s.channels)
      model->emplace<InvertedResidual>(InvertedResidual::Options{
          .in = in, .wide = in * s.expansion, .out = s.channels, .stride = block == 0 ? s.stride : 1});
  model->add(conv_norm(in, 1280, 1, {.activation = relu6}));
  model->emplace<nn::AdaptiveAvgPool2d>(1).emplace<nn::Flatten>().emplace<nn::Linear>(1280, 1000);
  return model;
}

inline std::shared_ptr<nn::Module> mobilenet_v3_small() {
  auto model = std::make_shared<nn::Sequential>();
  model->add(conv_norm(3, 16, 3, {.stride = 2, .activation = hardswish}));
  using Block = InvertedResidual::Options;
  for (const Block& block :
       {Block{16, 16, 16, 3, 2, true, relu}, Block{16, 72, 24, 3, 2, false, relu}, Block{24, 88, 24, 3, 1, false, relu},
        Block{24, 96, 40, 5, 2, true, hardswish}, Block{40, 240, 40, 5, 1, true, hardswish},
        Block{40, 240, 40, 5, 1, true, hardswish}, Block{40, 120, 48, 5, 1, true, hardswish},
        Block{48, 144, 48, 5, 1, true, hardswish}, Block{48, 288, 96, 5, 2, true, hardswish},
        Block{96, 576, 96, 5, 1, true, hardswish}, Block{96, 576, 96, 5, 1, true, hardswish}})
    model->emplace<InvertedResidual>(block);
  model->add(conv_norm(96, 576, 1, {.activation = hardswish}));
  model->emplace<nn::AdaptiveAvgPool2d>(1).emplace<nn::Flatten>().emplace<nn::Linear>(576, 1024);
  model->emplace<nn::Hardswish>().emplace<nn::Linear>(1024, 1000);
  return model;
}

/// Four levels down, each half the size and twice the channels, and up again.
struct UNet : nn::Module {
  static constexpr size_t kDepth = 4;
  static constexpr int64_t kWidth = 32, kClasses = 2;

  UNet() : head{this, "head", kWidth, kClasses, 1} {
    for (size_t level = 0; level < kDepth; ++level) {
      const int64_t width = kWidth << level;
      down.push_back(add("down", level, twice(level == 0 ? 3 : width / 2, width)));
      up.push_back(
          add("up", level,
              std::make_shared<nn::ConvTranspose2d>(2 * width, width, 2, nn::ConvTranspose2d::Options{.stride = 2})));
      merge.push_back(add("merge", level, twice(2 * width, width)));
    }
    bottom = add("bottom", kDepth, twice((kWidth << kDepth) / 2, kWidth << kDepth));
  }

  Tensor forward(const Tensor& x) override {
    Tensor h = x;
    std::vector<Tensor> skipped;
    for (const auto& level : down) {
      skipped.push_back((*level)(h));
      h = max_pool2d(skipped.back(), 2);
    }
    h = (*bottom)(h);
    for (size_t level = kDepth; level-- > 0;) h = (*merge[level])(concat({skipped[level], (*up[level])(h)}, 1));
    return head(h);
  }

 private:
  static std::shared_ptr<nn::Module> twice(int64_t in, int64_t out) {
    return sequence({conv_norm(in, out, 3), conv_norm(out, out, 3)});
  }
  std::shared_ptr<nn::Module> add(const std::string& name, size_t level, std::shared_ptr<nn::Module> module) {
    register_module(name + std::to_string(level), module);
    return module;
  }

  std::vector<std::shared_ptr<nn::Module>> down, up, merge;
  std::shared_ptr<nn::Module> bottom;
  nn::Submodule<nn::Conv2d> head;
};

/// A pre-norm transformer block.
struct EncoderBlock : nn::Module {
  EncoderBlock(int64_t features, int64_t attention_heads)
      : width(features),
        heads(attention_heads),
        norm1{this, "norm1", Shape{features}},
        norm2{this, "norm2", Shape{features}},
        qkv{this, "qkv", features, 3 * features},
        out{this, "out", features, features},
        expand{this, "expand", features, 4 * features},
        shrink{this, "shrink", 4 * features, features} {}

  Tensor forward(const Tensor& x) override {
    const Tensor h = x + attention(norm1(x));
    return h + shrink(gelu(expand(norm2(h))));
  }

 private:
  Tensor attention(const Tensor& x) {
    const Tensor all = qkv(x);
    const int64_t tokens = x.shape()[1];
    const auto part = [&](int64_t i, const Shape& axes) {
      return permute(reshape(slice(all, 2, i * width, (i + 1) * width), {-1, tokens, heads, width / heads}), axes);
    };
    const Tensor q = part(0, {0, 2, 1, 3}), k_transposed = part(1, {0, 2, 3, 1}), v = part(2, {0, 2, 1, 3});
    const Tensor weights = softmax(matmul(q, k_transposed) * (1 / std::sqrt(static_cast<double>(width / heads))), -1);
    return out(reshape(permute(matmul(weights, v), {0, 2, 1, 3}), {-1, tokens, width}));
  }

  int64_t width, heads;
  nn::Submodule<nn::LayerNorm> norm1, norm2;
  nn::Submodule<nn::Linear> qkv, out, expand, shrink;
};

/// 8x8 patches of images of 64x64, four blocks of width 192 with three heads.
struct PatchEncoder : nn::Module {
  static constexpr int64_t kWidth = 192, kTokens = 64, kHeads = 3, kDepth = 4, kClasses = 100;

  PatchEncoder()
      : patches{this, "patches", 3, kWidth, 8, {.stride = 8}},
        position(register_parameter("position", randn({1, kTokens, kWidth}, default_generator()))),
        norm{this, "norm", Shape{kWidth}},
        head{this, "head", kWidth, kClasses} {
    auto sequential = std::make_shared<nn::Sequential>();
    for (int64_t i = 0; i < kDepth; ++i) sequential->emplace<EncoderBlock>(kWidth, kHeads);
    register_module("blocks", blocks = sequential);
  }
  Tensor forward(const Tensor& x) override {
    const Tensor tokens = transpose(flatten(patches(x), 2), 1, 2) + position;
    return head(mean(norm((*blocks)(tokens)), {1}));
  }

 private:
  nn::Submodule<nn::Conv2d> patches;
  const Tensor position;
  std::shared_ptr<nn::Module> blocks;
  nn::Submodule<nn::LayerNorm> norm;
  nn::Submodule<nn::Linear> head;
};

struct Architecture {
  std::string name;
  Shape sample;  // without the batch
  std::function<std::shared_ptr<nn::Module>()> make;
};

inline const std::vector<Architecture>& architectures() {
  static const std::vector<Architecture> all{
      {"resnet18",
       {3, 224, 224},
       [] {
         return resnet({2, 2, 2, 2}, false);
       }},
      {"resnet50",
       {3, 224, 224},
       [] {
         return resnet({3, 4, 6, 3}, true);
       }},
      {"mobilenet_v2", {3, 224, 224}, mobilenet_v2},
      {"mobilenet_v3_small", {3, 224, 224}, mobilenet_v3_small},
      {"unet", {3, 128, 128}, [] { return std::make_shared<UNet>(); }},
      {"patch_encoder", {3, 64, 64}, [] { return std::make_shared<PatchEncoder>(); }},
  };
  return all;
}

/// Uniform in [0, 1).
inline Tensor images(const Architecture& architecture, int64_t batch_size) {
  Shape shape = architecture.sample;
  shape.insert(0, batch_size);
  Generator generator(1);
  return rand(shape, generator);
}

/// With random weights, and batch normalization's statistics of random images.
inline nn::Graph traced_graph(const Architecture& architecture) {
  manual_seed(0);
  const auto model = architecture.make();
  {
    const NoGrad guard;
    (*model)(images(architecture, 2));
  }
  return nn::trace(model->eval(), images(architecture, 1));
}

}  // namespace thimble::bench
