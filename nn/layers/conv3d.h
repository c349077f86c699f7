// Convolutions of volumes as layers, initialized as in PyTorch.
//
//   nn::Submodule<nn::Conv3d> conv{this, "conv", 1, 16, 3, {.padding = 1}};
//   Tensor h = conv(x);             // [n, 1, 16, 28, 28] -> [n, 16, 16, 28, 28]
#pragma once

#include <thimble/core/api.h>
#include <thimble/core/ops/conv3d.h>
#include <thimble/nn/module.h>

namespace thimble::nn {

/// x [n, in_channels, d, h, w] -> [n, out_channels, d', h', w'], see thimble::conv3d. weight [out, in / groups, kernel
/// depth, kernel height, kernel width], bias [out].
class THIMBLE_API Conv3d : public Module {
 public:
  /// What may follow the kernel's size.
  struct Options {
    Triple stride = 1;
    Padding3d padding = 0;
    Triple dilation = 1;
    int64_t groups = 1;
    bool bias = true;
  };

  /// Throws ValueError for sizes below 1, ShapeError for groups that do not divide both numbers of channels.
  Conv3d(int64_t in_channels, int64_t out_channels, Triple kernel, Options options);
  Conv3d(int64_t in_channels, int64_t out_channels, Triple kernel)
      : Conv3d(in_channels, out_channels, kernel, Options()) {}
  template <typename Slip = thimble::detail::NotAnOptionOf<Options>>
  Conv3d(int64_t in_channels, int64_t out_channels, Triple kernel, ...) = delete;
  /// With these tensors; bias may be undefined. Throws ShapeError if they do not fit together.
  Conv3d(Tensor weight, Tensor bias, const Conv3dOptions& options);

  Tensor forward(const Tensor& x) override;
  bool is_per_sample() const override { return true; }
  std::string type() const override { return "Conv3d"; }
  Attributes attributes() const override;

  const Conv3dOptions& options() const { return options_; }

  const Tensor weight, bias;

 private:
  Conv3dOptions options_;
};

/// x [n, in_channels, d, h, w] -> [n, out_channels, d', h', w'], see thimble::conv_transpose3d. weight [in, out /
/// groups, kernel depth, kernel height, kernel width], bias [out].
class THIMBLE_API ConvTranspose3d : public Module {
 public:
  /// What may follow the kernel's size.
  struct Options {
    Triple stride = 1;
    Padding3d padding = 0;
    Triple output_padding = 0;
    Triple dilation = 1;
    int64_t groups = 1;
    bool bias = true;
  };

  /// Throws as Conv3d.
  ConvTranspose3d(int64_t in_channels, int64_t out_channels, Triple kernel, Options options);
  ConvTranspose3d(int64_t in_channels, int64_t out_channels, Triple kernel)
      : ConvTranspose3d(in_channels, out_channels, kernel, Options()) {}
  template <typename Slip = thimble::detail::NotAnOptionOf<Options>>
  ConvTranspose3d(int64_t in_channels, int64_t out_channels, Triple kernel, ...) = delete;
  ConvTranspose3d(Tensor weight, Tensor bias, const Conv3dOptions& options, Triple output_padding);

  Tensor forward(const Tensor& x) override;
  bool is_per_sample() const override { return true; }
  std::string type() const override { return "ConvTranspose3d"; }
  Attributes attributes() const override;

  const Tensor weight, bias;

 private:
  Conv3dOptions options_;
  Triple output_padding_;
};

}  // namespace thimble::nn
