// Lion: steps of the same size for all elements.
#pragma once

#include <initializer_list>
#include <utility>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/nn/training/optim/optimizer.h>

namespace thimble::optim {

/// Options of Lion.
struct THIMBLE_API LionOptions {
  double lr = 1e-4;
  double beta1 = 0.9;
  double beta2 = 0.99;
  double weight_decay = 0;
};

/// Chen et al. 2023: each element moves by lr along the sign of an average of gradients; weight decay acts on the
/// parameter itself. Learning rates are three to ten times smaller than AdamW's. Throws ValueError for options out of
/// range.
class THIMBLE_API Lion : public Optimizer {
 public:
  explicit Lion(std::vector<Tensor> parameters, LionOptions options = {})
      : Lion(std::vector<ParamGroup<LionOptions>>{{std::move(parameters), options}}) {}
  explicit Lion(const std::vector<ParamGroup<LionOptions>>& groups);
  Lion(std::initializer_list<ParamGroup<LionOptions>> groups) : Lion(std::vector(groups)) {}
  template <typename Slip = detail::NotAnOptionOf<LionOptions>>
  Lion(std::vector<Tensor> parameters, ...) = delete;

 private:
  void update(const Slice& slice, int64_t begin, int64_t end) const override;
  std::vector<LionOptions> options_;  // of each group
};

}  // namespace thimble::optim
