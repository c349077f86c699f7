#include <cmath>

#include <thimble/core/kernels/training/optimizer.h>
#include <thimble/nn/training/optim/check_options.h>
#include <thimble/nn/training/optim/nadam.h>

namespace thimble::optim {

namespace {

// The momentum of a step, from 1 on.
double nadam_momentum(const NAdamOptions& o, int64_t step) {
  return o.beta1 * (1 - 0.5 * std::pow(0.96, static_cast<double>(step) * o.momentum_decay));
}

}  // namespace

NAdam::NAdam(const std::vector<ParamGroup<NAdamOptions>>& groups) {
  check<ValueError>(!groups.empty(), "NAdam: there are no parameters");
  for (const auto& [params, o] : groups) {
    check_decay("NAdam", "beta1", o.beta1);
    check_decay("NAdam", "beta2", o.beta2);
    check_option("NAdam", "eps", o.eps);
    check_option("NAdam", "weight_decay", o.weight_decay);
    check_option("NAdam", "momentum_decay", o.momentum_decay);
    add_group(params, o.lr, {.arrays = {"exp_avg", "exp_avg_sq"}, .numbers = {"mu_product"}});
    options_.push_back(o);
  }
}

// The product of all momenta so far.
void NAdam::advance(std::span<double> numbers, size_t group, int64_t step) const {
  numbers[0] *= nadam_momentum(options_[group], step);
}

void NAdam::update(const Slice& slice, int64_t begin, int64_t end) const {
  const NAdamOptions& o = options_[slice.group];
  const double mu = nadam_momentum(o, slice.step), next = nadam_momentum(o, slice.step + 1);
  const double product = slice.numbers[0];
  const kernels::NadamStep step{
      .beta1 = static_cast<float>(o.beta1),
      .beta2 = static_cast<float>(o.beta2),
      .one_minus_beta1 = static_cast<float>(1 - o.beta1),
      .one_minus_beta2 = static_cast<float>(1 - o.beta2),
      .grad_size = static_cast<float>(slice.lr * (1 - mu) / (1 - product)),
      .moment_size = static_cast<float>(slice.lr * next / (1 - product * next)),
      .root_correction = static_cast<float>(1 / std::sqrt(1 - std::pow(o.beta2, static_cast<double>(slice.step)))),
      .eps = static_cast<float>(o.eps),
      .l2 = static_cast<float>(o.weight_decay),
  };
  kernels::nadam(step, slice.grad + begin, slice.param + begin, slice.state[0] + begin, slice.state[1] + begin,
                 end - begin);
}

}  // namespace thimble::optim
