// Adagrad, as PyTorch has it.
#pragma once

#include <initializer_list>
#include <utility>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/nn/training/optim/optimizer.h>

namespace thimble::optim {

/// Options of Adagrad.
struct THIMBLE_API AdagradOptions {
  double lr = 1e-2;
  double lr_decay = 0;  ///< the rate of step t, from 0, is lr / (1 + t * lr_decay)
  double weight_decay = 0;
  double initial_accumulator_value = 0;
  double eps = 1e-10;
};

/// Duchi et al. 2011: gradients are divided by the root of the sum of their squares; weight decay is added to the
/// gradient. Throws ValueError for options that are negative or not finite.
class THIMBLE_API Adagrad : public Optimizer {
 public:
  explicit Adagrad(std::vector<Tensor> parameters, AdagradOptions options = {})
      : Adagrad(std::vector<ParamGroup<AdagradOptions>>{{std::move(parameters), options}}) {}
  explicit Adagrad(const std::vector<ParamGroup<AdagradOptions>>& groups);
  Adagrad(std::initializer_list<ParamGroup<AdagradOptions>> groups) : Adagrad(std::vector(groups)) {}
  template <typename Slip = detail::NotAnOptionOf<AdagradOptions>>
  Adagrad(std::vector<Tensor> parameters, ...) = delete;

 private:
  void update(const Slice& slice, int64_t begin, int64_t end) const override;
  std::vector<AdagradOptions> options_;  // of each group
};

}  // namespace thimble::optim
