// Losses. Reduction::mean is the default, as in PyTorch.
#pragma once

#include <string_view>

#include <thimble/core/api.h>
#include <thimble/core/tensor.h>

namespace thimble {

/// The default ignore_index, as in PyTorch: no class.
inline constexpr int64_t kIgnoreIndex = -100;

enum class Reduction { none, mean, sum };
THIMBLE_API std::string_view name(Reduction reduction);
/// Throws ValueError for an unknown name.
THIMBLE_API Reduction reduction_from_name(std::string_view name);

/// Options of cross_entropy().
struct THIMBLE_API CrossEntropyOptions {
  Reduction reduction = Reduction::mean;
  /// In [0, 1]: the target is (1 - s) on the class, s / classes on every class.
  double label_smoothing = 0;
  /// Targets of this value count for nothing: their loss and gradient are 0, and the mean is over the others.
  int64_t ignore_index = kIgnoreIndex;
};

/// Softmax and negative log likelihood in one. logits [n, classes], or [n, classes, d1, ...] as in PyTorch; target [n]
/// (or [n, d1, ...]) of class indices, int64, int32 or uint8. The mean is NaN if no target counts, as in PyTorch; the
/// gradient is 0 then. Throws ValueError for a class out of range, unless it is ignore_index.
THIMBLE_API Tensor cross_entropy(const Tensor& logits, const Tensor& target, const CrossEntropyOptions& options = {});
/// The same without the softmax: log_probabilities as log_softmax gives them.
THIMBLE_API Tensor nll_loss(const Tensor& log_probabilities, const Tensor& target,
                            Reduction reduction = Reduction::mean, int64_t ignore_index = kIgnoreIndex);
/// The same where each target counts as much as its class's entry of `weight` [classes], as PyTorch's weight: the mean
/// is over the weights. Gradients flow to the weights, too.
THIMBLE_API Tensor weighted_nll_loss(const Tensor& log_probabilities, const Tensor& target, const Tensor& weight,
                                     Reduction reduction = Reduction::mean, int64_t ignore_index = kIgnoreIndex);
/// Mean of (input - target)^2, of the same shape.
THIMBLE_API Tensor mse_loss(const Tensor& input, const Tensor& target, Reduction reduction = Reduction::mean);

}  // namespace thimble
