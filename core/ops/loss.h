// Losses. Reduction::mean is the default, as in PyTorch.
#pragma once

#include <string_view>

#include <thimble/core/tensor.h>

namespace thimble {

enum class Reduction { none, mean, sum };
std::string_view name(Reduction reduction);
/// Throws ValueError for an unknown name.
Reduction reduction_from_name(std::string_view name);

struct CrossEntropyOptions {
  Reduction reduction = Reduction::mean;
  /// In [0, 1]: the target is (1 - s) on the class, s / classes on every class.
  double label_smoothing = 0;
};

/// Softmax and negative log likelihood in one. logits [n, classes], or [n, classes, d1, ...] as in PyTorch; target [n]
/// (or [n, d1, ...]) of class indices, int64, int32 or uint8. Throws ValueError for a class out of range.
Tensor cross_entropy(const Tensor& logits, const Tensor& target, const CrossEntropyOptions& options = {});
/// The same without the softmax: log_probabilities as log_softmax gives them.
Tensor nll_loss(const Tensor& log_probabilities, const Tensor& target, Reduction reduction = Reduction::mean);
/// Mean of (input - target)^2, of the same shape.
Tensor mse_loss(const Tensor& input, const Tensor& target, Reduction reduction = Reduction::mean);

}  // namespace thimble
