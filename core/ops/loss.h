// Losses. Names, order of arguments and defaults are PyTorch's; Reduction::mean is the default.
//
//   Tensor loss = cross_entropy(net(images), labels, {.label_smoothing = 0.1, .weight = weight});
//   Tensor other = huber_loss(x, y, Reduction::sum, /*delta=*/0.5);
//
// input and target are float32 or float64, of one dtype; bfloat16, as mixed precision gives it, counts as float32.
// Unless told otherwise they have one shape, losses are one for each element, and gradients flow to both. Throw
// ShapeError and DTypeError for others, ValueError for options out of range.
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
  /// How much each class counts, [classes] of the logits' dtype; undefined for all alike.
  Tensor weight = {};
};

/// Softmax and negative log likelihood in one. logits [n, classes], or [n, classes, d1, ...] as in PyTorch; target [n]
/// (or [n, d1, ...]) of class indices, int64, int32 or uint8. The mean is over the targets that count, with weights
/// over theirs; it is NaN if none counts, as in PyTorch, and the gradient is 0 then (with weights it is NaN, too).
/// Throws ValueError for a class out of range, unless it is ignore_index.
///
/// Or target is of the logits' shape and dtype: the probability of each class. The mean is over the n (or n * d1 * ...)
/// examples then, whatever the weights; throws ValueError for an ignore_index of a class. Gradients flow to target,
/// too.
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
/// |input - target|
THIMBLE_API Tensor l1_loss(const Tensor& input, const Tensor& target, Reduction reduction = Reduction::mean);
/// With d = |input - target|: d^2 / (2 beta) below beta, else d - beta / 2. A beta of 0 makes it l1_loss.
THIMBLE_API Tensor smooth_l1_loss(const Tensor& input, const Tensor& target, Reduction reduction = Reduction::mean,
                                  double beta = 1);
/// With d = |input - target|: d^2 / 2 below delta, which is above 0, else delta (d - delta / 2) (Huber 1964).
THIMBLE_API Tensor huber_loss(const Tensor& input, const Tensor& target, Reduction reduction = Reduction::mean,
                              double delta = 1);

/// Options of binary_cross_entropy().
struct THIMBLE_API BinaryCrossEntropyOptions {
  Reduction reduction = Reduction::mean;
  /// Of each loss; broadcasts to the input's shape. The mean is over the number of losses all the same.
  Tensor weight = {};
};

/// Options of binary_cross_entropy_with_logits().
struct THIMBLE_API BinaryCrossEntropyWithLogitsOptions {
  Reduction reduction = Reduction::mean;
  /// As in BinaryCrossEntropyOptions.
  Tensor weight = {};
  /// How many times a target of 1 counts; broadcasts to the input's shape, as [classes] do.
  Tensor pos_weight = {};
};

/// -(target log(input) + (1 - target) log(1 - input)) of probabilities, whose logarithms end at -100, as in PyTorch.
/// Throws ValueError for an input outside of [0, 1]. Better digits come of binary_cross_entropy_with_logits().
THIMBLE_API Tensor binary_cross_entropy(const Tensor& input, const Tensor& target,
                                        const BinaryCrossEntropyOptions& options = {});
/// The same of sigmoid(input), accurate for logits of any size.
THIMBLE_API Tensor binary_cross_entropy_with_logits(const Tensor& input, const Tensor& target,
                                                    const BinaryCrossEntropyWithLogitsOptions& options = {});

/// The terms of the Kullback-Leibler divergence, target (log(target) - input), of log probabilities `input` and
/// probabilities `target`, or with log_target their logarithms; 0 where the target is 0. The mean is over all elements;
/// the divergence of n examples (PyTorch's "batchmean") is kl_div(input, target, Reduction::sum) / n.
THIMBLE_API Tensor kl_div(const Tensor& input, const Tensor& target, Reduction reduction = Reduction::mean,
                          bool log_target = false);

/// The input, a distance, where target is 1; max(margin - input, 0) where it is -1. Throws ValueError for another
/// target, which may be of any dtype.
THIMBLE_API Tensor hinge_embedding_loss(const Tensor& input, const Tensor& target, double margin = 1,
                                        Reduction reduction = Reduction::mean);

/// Options of multi_margin_loss().
struct THIMBLE_API MultiMarginLossOptions {
  int64_t p = 1;  ///< 1 or 2
  double margin = 1;
  /// How much each class counts, [classes]; undefined for all alike. The mean is over n all the same.
  Tensor weight = {};
  Reduction reduction = Reduction::mean;
};

/// The hinge loss of several classes: the sum over the others of max(margin - score of the target + score, 0)^p,
/// divided by the number of classes. input [n, classes]; target [n] of class indices, int64, int32 or uint8. Throws
/// ValueError for a class out of range.
THIMBLE_API Tensor multi_margin_loss(const Tensor& input, const Tensor& target,
                                     const MultiMarginLossOptions& options = {});

/// Options of triplet_margin_loss().
struct THIMBLE_API TripletMarginLossOptions {
  double margin = 1;
  double p = 2;  ///< the norm that distances are, at least 1
  double eps = 1e-6;
  /// Whether the negative's distance is that to the nearer one of anchor and positive (Balntas et al. 2016).
  bool swap = false;
  Reduction reduction = Reduction::mean;
};

/// max(distance(anchor, positive) - distance(anchor, negative) + margin, 0), where distances are pairwise_distance's:
/// all three are [n, features], or [features].
THIMBLE_API Tensor triplet_margin_loss(const Tensor& anchor, const Tensor& positive, const Tensor& negative,
                                       const TripletMarginLossOptions& options = {});
/// 1 - cosine where target is 1, max(cosine - margin, 0) where it is -1, of the angle between rows of both inputs,
/// [n, features], with target [n], or [features] with one target. Throws ValueError for another target, which may be of
/// any dtype, and a margin outside of [-1, 1].
THIMBLE_API Tensor cosine_embedding_loss(const Tensor& input1, const Tensor& input2, const Tensor& target,
                                         double margin = 0, Reduction reduction = Reduction::mean);

}  // namespace thimble
