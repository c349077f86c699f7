// RMSprop, as PyTorch has it.
#pragma once

#include <initializer_list>
#include <utility>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/nn/training/optim/optimizer.h>

namespace thimble::optim {

/// Options of RMSprop.
struct THIMBLE_API RMSpropOptions {
  double lr = 1e-2;
  double alpha = 0.99;  ///< what the averages keep of themselves
  double eps = 1e-8;
  double weight_decay = 0;
  double momentum = 0;
  /// Divides by the gradients' deviation from their mean, not from 0.
  bool centered = false;
};

/// Tieleman and Hinton 2012: gradients are divided by the root of their squares' moving average; weight decay is added
/// to the gradient. Throws ValueError for options that are negative or not finite, and an alpha not in [0, 1).
class THIMBLE_API RMSprop : public Optimizer {
 public:
  explicit RMSprop(std::vector<Tensor> parameters, RMSpropOptions options = {})
      : RMSprop(std::vector<ParamGroup<RMSpropOptions>>{{std::move(parameters), options}}) {}
  explicit RMSprop(const std::vector<ParamGroup<RMSpropOptions>>& groups);
  RMSprop(std::initializer_list<ParamGroup<RMSpropOptions>> groups) : RMSprop(std::vector(groups)) {}
  template <typename Slip = detail::NotAnOptionOf<RMSpropOptions>>
  RMSprop(std::vector<Tensor> parameters, ...) = delete;

 private:
  void update(const Slice& slice, int64_t begin, int64_t end) const override;
  std::vector<RMSpropOptions> options_;  // of each group
};

}  // namespace thimble::optim
