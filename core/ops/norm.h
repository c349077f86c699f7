// Normalization over batches, over groups of channels and over last dimensions. For the first two x is [n, channels],
// [n, channels, length] or [n, channels, height, width]; batch normalization's results lie in memory with the channels
// last.
//
//   Tensor y = batch_norm(x, weight, bias, running_mean, running_var, {.training = true});
#pragma once

#include <thimble/core/api.h>
#include <thimble/core/tensor.h>

namespace thimble {

/// Options of batch_norm().
struct THIMBLE_API BatchNormOptions {
  bool training = false;
  /// Share of the batch's statistics in the new running ones.
  double momentum = 0.1;
  /// Added to the variance.
  double eps = 1e-5;
  /// Applies relu to the result, in the same pass over memory.
  bool relu = false;
};

/// Batch normalization (Ioffe and Szegedy 2015): (x - mean) / sqrt(var + eps) * weight + bias, channel by channel, as
/// in PyTorch. In training mean and (biased) variance are the batch's, and the running statistics are moved towards
/// mean and unbiased variance: running = (1 - momentum) * running + momentum * batch, in new arrays of the two tensors.
/// Otherwise they are the running ones, through which no gradient flows. All but x are [channels]; weight and bias may
/// both be undefined, and in training the running statistics may. Throws ShapeError for sizes that do not fit or an
/// empty batch, DTypeError for dtypes that differ, ValueError for a single value per channel in training, eps that is
/// not above 0 or a momentum outside of [0, 1]. A variance beyond the largest float32, of values of 2e19 or more, is
/// infinite among the running ones, as in PyTorch; training itself gets it right.
THIMBLE_API Tensor batch_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& running_mean,
                              const Tensor& running_var, const BatchNormOptions& options = {});

/// Layer normalization (Ba et al. 2016): brought to mean 0 and variance 1 over the last dimensions, whose sizes are
/// normalized_shape, then times weight plus bias, of that shape or undefined, as in PyTorch. Throws ShapeError for
/// sizes that do not fit.
THIMBLE_API Tensor layer_norm(const Tensor& x, const Shape& normalized_shape, const Tensor& weight = {},
                              const Tensor& bias = {}, double eps = 1e-5);

/// Group normalization (Wu and He 2018): each sample brought to mean 0 and variance 1 over each of `groups` groups of
/// channels, then times weight plus bias, [channels] or both undefined. Throws ShapeError for channels that are no
/// multiple of groups and sizes that do not fit, ValueError for fewer than one group.
THIMBLE_API Tensor group_norm(const Tensor& x, int64_t groups, const Tensor& weight = {}, const Tensor& bias = {},
                              double eps = 1e-5);

/// Instance normalization (Ulyanov et al. 2016): group_norm() of one channel in each group, of x [n, channels, ...]
/// with at least one dimension more. weight and bias are [channels] or both undefined. Throws ShapeError for other
/// sizes.
THIMBLE_API Tensor instance_norm(const Tensor& x, const Tensor& weight = {}, const Tensor& bias = {},
                                 double eps = 1e-5);

/// Root mean square normalization (Zhang and Sennrich 2019): x / sqrt(mean of x^2 + eps) over the last dimensions,
/// whose sizes are normalized_shape, times weight, of that shape or undefined. eps is what PyTorch takes for float32.
/// Throws ShapeError for sizes that do not fit, ValueError for eps that is not above 0.
THIMBLE_API Tensor rms_norm(const Tensor& x, const Shape& normalized_shape, const Tensor& weight = {},
                            double eps = 1.1920928955078125e-07);

}  // namespace thimble
