#include <thimble/core/kernels/training/optimizer.h>
#include <thimble/nn/training/optim/adagrad.h>
#include <thimble/nn/training/optim/check_options.h>

namespace thimble::optim {

Adagrad::Adagrad(const std::vector<ParamGroup<AdagradOptions>>& groups) {
  check<ValueError>(!groups.empty(), "Adagrad: there are no parameters");
  for (const auto& [params, o] : groups) {
    check_option("Adagrad", "lr_decay", o.lr_decay);
    check_option("Adagrad", "weight_decay", o.weight_decay);
    check_option("Adagrad", "initial_accumulator_value", o.initial_accumulator_value);
    check_option("Adagrad", "eps", o.eps);
    add_group(params, o.lr, {.arrays = {"sum"}, .array_value = o.initial_accumulator_value});
    options_.push_back(o);
  }
}

void Adagrad::update(const Slice& slice, int64_t begin, int64_t end) const {
  const AdagradOptions& o = options_[slice.group];
  const double lr = slice.lr / (1 + static_cast<double>(slice.step - 1) * o.lr_decay);
  const kernels::AdagradStep step{static_cast<float>(lr), static_cast<float>(o.eps),
                                  static_cast<float>(o.weight_decay)};
  kernels::adagrad(step, slice.grad + begin, slice.param + begin, slice.state[0] + begin, end - begin);
}

}  // namespace thimble::optim
