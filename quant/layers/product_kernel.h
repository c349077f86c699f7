// The integer sums of a layer's products, ready to run: what static and dynamic quantization share. Internal to quant.
#pragma once

#include <memory>
#include <span>

#include <thimble/core/kernels/int8/int8_gemm.h>
#include <thimble/core/ops/conv.h>
#include <thimble/nn/inference/inference.h>
#include <thimble/quant/layers/integer_weights.h>

namespace thimble::quant {

/// Packed weights, which those for other shapes share, ready for inputs of one shape. Calls are const and may come from
/// several threads.
class ProductKernel {
 public:
  virtual ~ProductKernel() = default;

  /// y = epilogue(sums over x, uint8). Outside of an image is `zero_point`. The epilogue's bias and multiplier are
  /// [groups][out].
  virtual void run(const uint8_t* x, uint8_t zero_point, const kernels::Int8Epilogue& epilogue, uint8_t* y,
                   uint8_t* scratch) const = 0;
  virtual void run(const uint8_t* x, uint8_t zero_point, const kernels::Int8Epilogue& epilogue, float* y,
                   uint8_t* scratch) const = 0;
  /// The same where each row of features, or each image, has parameters of its own: the epilogue's zero_point and scale
  /// are [rows()], its sums, which are sums(), and step [groups][out], its bias [out].
  virtual void run_rows(const uint8_t* x, const kernels::Int8RowEpilogue& epilogue, float* y,
                        uint8_t* scratch) const = 0;
  /// Rows of features, or images.
  virtual int64_t rows() const = 0;
  /// The sum of each output channel's weights, [groups][out].
  virtual std::span<const int32_t> sums() const = 0;
  virtual Shape output_shape() const = 0;
  virtual int64_t scratch_bytes() const { return 0; }
  virtual int64_t weight_bytes() const = 0;
};

/// Weights [out, in] whose scales are of output channels, for rows of features in their order.
std::shared_ptr<const kernels::PackedInt8Weights> packed_rows(const IntegerWeights& weights);

/// Rows x [..., in] times weights [out, in]. Null for inputs whose features do not lie in a row in their order.
std::unique_ptr<ProductKernel> linear_kernel(const IntegerWeights& weights, const nn::ValueInfo& x);

/// Images x [n, in, h, w] and weights [out, in / groups, kernel height, kernel width], which are not in groups of their
/// own. Throws as conv2d, with messages that begin with `op`.
std::unique_ptr<ProductKernel> conv2d_kernel(const char* op, const IntegerWeights& weights, const nn::ValueInfo& x,
                                             const Conv2dOptions& options);

/// Throws, beginning with `type`, for options that conv2d() refuses, groups that do not divide the output channels, or
/// weights in groups of their own.
void check_conv2d_weights(const char* type, const IntegerWeights& weights, const Conv2dOptions& options);
/// The configuration of a convolution of these weights, as nn::detail::Conv2dConfiguration reads it.
void conv2d_attributes(Attributes& attributes, const IntegerWeights& weights, const Conv2dOptions& options);

}  // namespace thimble::quant
