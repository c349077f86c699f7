// NAdam, as PyTorch has it.
#pragma once

#include <initializer_list>
#include <utility>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/nn/training/optim/optimizer.h>

namespace thimble::optim {

/// Options of NAdam.
struct THIMBLE_API NAdamOptions {
  double lr = 2e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;
  double momentum_decay = 4e-3;
};

/// Dozat 2016, as PyTorch has it since 2.0: Adam with Nesterov's momentum, which grows over the first steps; weight
/// decay is added to the gradient. Throws ValueError for options out of range.
class THIMBLE_API NAdam : public Optimizer {
 public:
  explicit NAdam(std::vector<Tensor> parameters, NAdamOptions options = {})
      : NAdam(std::vector<ParamGroup<NAdamOptions>>{{std::move(parameters), options}}) {}
  explicit NAdam(const std::vector<ParamGroup<NAdamOptions>>& groups);
  NAdam(std::initializer_list<ParamGroup<NAdamOptions>> groups) : NAdam(std::vector(groups)) {}
  template <typename Slip = detail::NotAnOptionOf<NAdamOptions>>
  NAdam(std::vector<Tensor> parameters, ...) = delete;

 private:
  void update(const Slice& slice, int64_t begin, int64_t end) const override;
  void advance(std::span<double> numbers, size_t group, int64_t step) const override;
  std::vector<NAdamOptions> options_;  // of each group
};

}  // namespace thimble::optim
