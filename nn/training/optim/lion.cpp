#include <thimble/core/kernels/training/optimizer.h>
#include <thimble/nn/training/optim/check_options.h>
#include <thimble/nn/training/optim/lion.h>

namespace thimble::optim {

Lion::Lion(const std::vector<ParamGroup<LionOptions>>& groups) {
  check<ValueError>(!groups.empty(), "Lion: there are no parameters");
  for (const auto& [params, o] : groups) {
    check_decay("Lion", "beta1", o.beta1);
    check_decay("Lion", "beta2", o.beta2);
    check_option("Lion", "weight_decay", o.weight_decay);
    add_group(params, o.lr, {.arrays = {"exp_avg"}});
    options_.push_back(o);
  }
}

void Lion::update(const Slice& slice, int64_t begin, int64_t end) const {
  const LionOptions& o = options_[slice.group];
  const kernels::LionStep step{.lr = static_cast<float>(slice.lr),
                               .beta1 = static_cast<float>(o.beta1),
                               .beta2 = static_cast<float>(o.beta2),
                               .one_minus_beta1 = static_cast<float>(1 - o.beta1),
                               .one_minus_beta2 = static_cast<float>(1 - o.beta2),
                               .decay = static_cast<float>(1 - slice.lr * o.weight_decay)};
  kernels::lion(step, slice.grad + begin, slice.param + begin, slice.state[0] + begin, end - begin);
}

}  // namespace thimble::optim
