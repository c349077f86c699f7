#include <thimble/core/kernels/training/optimizer.h>
#include <thimble/nn/training/optim/check_options.h>
#include <thimble/nn/training/optim/rmsprop.h>

namespace thimble::optim {

RMSprop::RMSprop(const std::vector<ParamGroup<RMSpropOptions>>& groups) {
  check<ValueError>(!groups.empty(), "RMSprop: there are no parameters");
  for (const auto& [params, o] : groups) {
    check_decay("RMSprop", "alpha", o.alpha);
    check_option("RMSprop", "eps", o.eps);
    check_option("RMSprop", "weight_decay", o.weight_decay);
    check_option("RMSprop", "momentum", o.momentum);
    Kept kept{.arrays = {"square_avg"}};
    if (o.centered) kept.arrays.push_back("grad_avg");
    if (o.momentum != 0) kept.arrays.push_back("momentum_buffer");
    add_group(params, o.lr, kept);
    options_.push_back(o);
  }
}

void RMSprop::update(const Slice& slice, int64_t begin, int64_t end) const {
  const RMSpropOptions& o = options_[slice.group];
  const kernels::RmspropStep step{static_cast<float>(slice.lr),       static_cast<float>(o.alpha),
                                  static_cast<float>(1 - o.alpha),    static_cast<float>(o.eps),
                                  static_cast<float>(o.weight_decay), static_cast<float>(o.momentum)};
  kernels::rmsprop(step, slice.grad + begin, slice.param + begin, slice.state[0] + begin,
                   o.centered ? slice.state[1] + begin : nullptr,
                   o.momentum != 0 ? slice.state.back() + begin : nullptr, end - begin);
}

}  // namespace thimble::optim
