// Convolutions as layers, initialized as in PyTorch.
//
//   nn::Submodule<nn::Conv2d> conv{this, "conv", 1, 16, 3, {.padding = 1}};
//   Tensor h = conv(images);        // [n, 1, 28, 28] -> [n, 16, 28, 28]
#pragma once

#include <thimble/core/api.h>
#include <thimble/core/ops/conv.h>
#include <thimble/nn/module.h>

namespace thimble::nn {

/// x [n, in_channels, h, w] -> [n, out_channels, h', w'], see thimble::conv2d. weight [out, in / groups, kernel height,
/// kernel width], bias [out].
class THIMBLE_API Conv2d : public Module {
 public:
  /// What may follow the kernel's size.
  struct Options {
    Pair stride = 1;
    Padding padding = 0;
    Pair dilation = 1;
    int64_t groups = 1;
    bool bias = true;
  };

  /// Throws ValueError for sizes below 1, ShapeError for groups that do not divide both numbers of channels.
  Conv2d(int64_t in_channels, int64_t out_channels, Pair kernel, Options options);
  Conv2d(int64_t in_channels, int64_t out_channels, Pair kernel)
      : Conv2d(in_channels, out_channels, kernel, Options()) {}
  template <typename Slip = thimble::detail::NotAnOptionOf<Options>>
  Conv2d(int64_t in_channels, int64_t out_channels, Pair kernel, ...) = delete;
  /// With these tensors; bias may be undefined. Throws ShapeError if they do not fit together.
  Conv2d(Tensor weight, Tensor bias, const Conv2dOptions& options);

  Tensor forward(const Tensor& x) override;
  bool is_per_sample() const override { return true; }
  std::unique_ptr<InferenceStep> inference_step(std::span<const ValueInfo> inputs) const override;
  std::string type() const override { return "Conv2d"; }
  Attributes attributes() const override;

  int64_t in_channels() const { return weight.shape(1) * options_.groups; }
  int64_t out_channels() const { return weight.shape(0); }
  Pair kernel() const { return {weight.shape(2), weight.shape(3)}; }
  const Conv2dOptions& options() const { return options_; }

  const Tensor weight, bias;

 private:
  Conv2dOptions options_;
};

/// x [n, in_channels, length] -> [n, out_channels, length'], see thimble::conv1d. weight [out, in / groups, kernel].
class THIMBLE_API Conv1d : public Module {
 public:
  /// What may follow the kernel's size.
  struct Options {
    int64_t stride = 1;
    int64_t padding = 0;
    int64_t dilation = 1;
    int64_t groups = 1;
    bool bias = true;
  };

  /// Throws as Conv2d.
  Conv1d(int64_t in_channels, int64_t out_channels, int64_t kernel, Options options);
  Conv1d(int64_t in_channels, int64_t out_channels, int64_t kernel)
      : Conv1d(in_channels, out_channels, kernel, Options()) {}
  template <typename Slip = thimble::detail::NotAnOptionOf<Options>>
  Conv1d(int64_t in_channels, int64_t out_channels, int64_t kernel, ...) = delete;
  Conv1d(Tensor weight, Tensor bias, const Conv1dOptions& options);

  Tensor forward(const Tensor& x) override;
  bool is_per_sample() const override { return true; }
  std::string type() const override { return "Conv1d"; }
  Attributes attributes() const override;

  const Tensor weight, bias;

 private:
  Conv1dOptions options_;
};

/// x [n, in_channels, h, w] -> [n, out_channels, h', w'], see thimble::conv_transpose2d. weight [in, out / groups,
/// kernel height, kernel width], bias [out].
class THIMBLE_API ConvTranspose2d : public Module {
 public:
  /// What may follow the kernel's size.
  struct Options {
    Pair stride = 1;
    Padding padding = 0;
    Pair output_padding = 0;
    Pair dilation = 1;
    int64_t groups = 1;
    bool bias = true;
  };

  /// Throws as Conv2d.
  ConvTranspose2d(int64_t in_channels, int64_t out_channels, Pair kernel, Options options);
  ConvTranspose2d(int64_t in_channels, int64_t out_channels, Pair kernel)
      : ConvTranspose2d(in_channels, out_channels, kernel, Options()) {}
  template <typename Slip = thimble::detail::NotAnOptionOf<Options>>
  ConvTranspose2d(int64_t in_channels, int64_t out_channels, Pair kernel, ...) = delete;
  ConvTranspose2d(Tensor weight, Tensor bias, const Conv2dOptions& options, Pair output_padding);

  Tensor forward(const Tensor& x) override;
  bool is_per_sample() const override { return true; }
  std::unique_ptr<InferenceStep> inference_step(std::span<const ValueInfo> inputs) const override;
  std::string type() const override { return "ConvTranspose2d"; }
  Attributes attributes() const override;

  const Tensor weight, bias;

 private:
  Conv2dOptions options_;
  Pair output_padding_;
};

namespace detail {
/// A convolution's configuration as read from attributes. Throws FormatError.
struct THIMBLE_API Conv2dConfiguration {
  explicit Conv2dConfiguration(const Attributes& attributes);
  int64_t in_channels, out_channels;
  Pair kernel;
  Conv2dOptions options;
  bool bias;
};
}  // namespace detail

/// A Conv2d, or a layer derived from it, with the configuration of attributes() and tensors that are not set yet.
/// Throws FormatError.
template <typename T>
std::shared_ptr<T> make_conv2d(const Attributes& attributes) {
  const detail::Conv2dConfiguration c(attributes);
  const Shape shape{c.out_channels, c.in_channels / c.options.groups, c.kernel.height, c.kernel.width};
  return std::make_shared<T>(NDArray::placeholder(shape),
                             c.bias ? Tensor(NDArray::placeholder({c.out_channels})) : Tensor(), c.options);
}

}  // namespace thimble::nn
