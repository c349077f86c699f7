#include <algorithm>
#include <cmath>
#include <map>
#include <unordered_set>
#include <utility>

#include <thimble/core/kernels/training/optimizer.h>
#include <thimble/core/parallel.h>
#include <thimble/core/profiler.h>
#include <thimble/nn/training/optim/check_options.h>
#include <thimble/nn/training/optim/optimizer.h>

namespace thimble::optim {

namespace {
constexpr int64_t kGrain = 16384;                 // elements of an update that are worth another thread
constexpr int64_t kMostSteps = int64_t{1} << 53;  // doubles count so far, and more than anything can make
}  // namespace

void Optimizer::add_group(const std::vector<Tensor>& params, double lr, const Kept& kept) {
  check<ValueError>(!params.empty(), "optimizer: there are no parameters");
  check_option("optimizer", "lr", lr);
  std::unordered_set<const void*> seen;
  for (const Tensor& p : parameters_) seen.insert(p.id());
  for (const Tensor& p : params) {
    check<ValueError>(seen.insert(p.id()).second, "optimizer: a parameter is given twice");
    check<DTypeError>(p.dtype() == DType::float32, "optimizer: parameters must be float32, got ", p.dtype());
    parameters_.push_back(p);
    group_.push_back(static_cast<int64_t>(lrs_.size()));
    steps_.push_back(0);
    std::vector<NDArray>& arrays = state_.emplace_back();
    for (size_t i = 0; i < kept.arrays.size(); ++i) arrays.push_back(NDArray::full(p.shape(), kept.array_value));
    numbers_.emplace_back(kept.numbers.size(), 1.0);
  }
  lrs_.push_back(lr);
  initial_lrs_.push_back(lr);
  kept_.push_back(kept);
}

void Optimizer::set_lr(double lr) {
  check_option("optimizer", "lr", lr);
  check<ValueError>(lrs_.size() == 1 || initial_lrs_[0] > 0, "optimizer: the first group's learning rate was 0, to ",
                    "which the others have no ratio; use set_lrs()");
  for (size_t i = 1; i < lrs_.size(); ++i) lrs_[i] = initial_lrs_[i] * (lr / initial_lrs_[0]);
  lrs_[0] = lr;
}

void Optimizer::set_lrs(const std::vector<double>& lrs) {
  check<ValueError>(lrs.size() == lrs_.size(), "optimizer: got ", lrs.size(), " learning rates for ", lrs_.size(),
                    " groups");
  for (double lr : lrs) check_option("optimizer", "lr", lr);
  lrs_ = initial_lrs_ = lrs;
}

void Optimizer::make_slices(std::vector<NDArray>& copied_grads) {
  size_t states = 0;
  for (const std::vector<NDArray>& arrays : state_) states += arrays.size();
  slice_states_.clear();
  slice_states_.reserve(states);  // slices point into it
  slices_.clear();
  slices_.reserve(parameters_.size());
  for (size_t i = 0; i < parameters_.size(); ++i) {
    Tensor& p = parameters_[i];
    if (!p.grad().defined()) continue;
    NDArray grad = p.grad().data();
    if (!grad.is_contiguous()) grad = copied_grads.emplace_back(grad.contiguous());
    if (p.data().is_copy_on_write()) p.set_data(p.data().clone());
    if (!p.data().is_contiguous()) p.set_data(p.data().contiguous());
    float** const first = slice_states_.data() + slice_states_.size();
    for (NDArray& array : state_[i]) slice_states_.push_back(array.data<float>());
    const auto group = static_cast<size_t>(group_[i]);
    slices_.push_back({std::as_const(grad).data<float>(),
                       nullptr,
                       {first, state_[i].size()},
                       numbers_[i],
                       p.numel(),
                       steps_[i] + 1,
                       group,
                       lrs_[group]});
  }
}

void Optimizer::step() {
  const ProfiledScope profiled("(optimizer)");
  std::vector<NDArray> copied_grads;  // of those that do not lie dense
  make_slices(copied_grads);
  // From here on nothing fails: a step is made for all parameters or for none.
  int64_t total = 0;
  for (size_t i = 0, next = 0; i < parameters_.size(); ++i) {
    if (!parameters_[i].grad().defined()) continue;
    ++steps_[i];
    advance(numbers_[i], static_cast<size_t>(group_[i]), steps_[i]);
    total += slices_[next].n;
    slices_[next++].param = parameters_[i].mutable_data().data<float>();  // graphs take it for changed from now on
  }
  // All parameters as one range, so that many small ones cost one parallel loop.
  parallel_for(total, kGrain, [&](int64_t begin, int64_t end) {
    int64_t start = 0;
    for (const Slice& slice : slices_) {
      const int64_t from = std::max(begin - start, int64_t{0}), to = std::min(end - start, slice.n);
      if (from < to) update(slice, from, to);
      start += slice.n;
    }
  });
}

void Optimizer::zero_grad() {
  for (Tensor& p : parameters_) p.set_grad(Tensor());
}

NamedArrays Optimizer::state() const {
  NamedArrays arrays;
  for (size_t i = 0; i < state_.size(); ++i) {
    const Kept& kept = kept_[static_cast<size_t>(group_[i])];
    arrays.emplace_back(str(i, ".step"), NDArray::from_vector<int64_t>({steps_[i]}, {}));
    for (size_t j = 0; j < kept.arrays.size(); ++j) arrays.emplace_back(str(i, '.', kept.arrays[j]), state_[i][j]);
    for (size_t j = 0; j < kept.numbers.size(); ++j)
      arrays.emplace_back(str(i, '.', kept.numbers[j]), NDArray::from_vector<double>({numbers_[i][j]}, {}));
  }
  if (lrs_.size() == 1) return arrays;  // the rate is kept apart, as it was before there were groups
  arrays.emplace_back("lr", NDArray::from_vector(lrs_));
  arrays.emplace_back("initial_lr", NDArray::from_vector(initial_lrs_));
  arrays.emplace_back("group", NDArray::from_vector(group_));
  return arrays;
}

void Optimizer::check_groups(const std::map<std::string, NDArray>& given) const {
  for (const char* name : {"lr", "initial_lr"})
    for (double lr : given.at(name).to_vector<double>()) check_option("optimizer: state", name, lr);
  check<ValueError>(given.at("group").to_vector<int64_t>() == group_, "optimizer: the state's parameters are in other ",
                    "groups");
}

std::vector<std::vector<double>> Optimizer::numbers_of(const std::map<std::string, NDArray>& given) const {
  std::vector<std::vector<double>> numbers = numbers_;
  for (size_t i = 0; i < numbers.size(); ++i)
    for (size_t j = 0; j < numbers[i].size(); ++j) {
      const std::string name = str(i, '.', kept_[static_cast<size_t>(group_[i])].numbers[j]);
      numbers[i][j] = given.at(name).item<double>();
      check<ValueError>(numbers[i][j] >= 0 && numbers[i][j] <= 1, "optimizer: state '", name, "' is ", numbers[i][j],
                        ", expected a product of factors below 1");
    }
  return numbers;
}

std::function<void()> Optimizer::prepare_state(const NamedArrays& arrays) {
  std::map<std::string, NDArray> given(arrays.begin(), arrays.end());
  NamedArrays mine = state();
  check<ValueError>(given.size() == mine.size() && arrays.size() == mine.size(), "optimizer: state of ", arrays.size(),
                    " arrays, expected ", mine.size());
  for (const auto& [name, array] : mine) {
    const auto it = given.find(name);
    check<ValueError>(it != given.end(), "optimizer: there is no state '", name, "'");
    check<ShapeError>(it->second.shape() == array.shape(), "optimizer: state '", name, "' has shape ",
                      it->second.shape(), ", expected ", array.shape());
    check<DTypeError>(it->second.dtype() == array.dtype(), "optimizer: state '", name, "' is ", it->second.dtype(),
                      ", expected ", array.dtype());
    if (!name.ends_with(".step")) continue;
    const auto step = it->second.item<int64_t>();
    check<ValueError>(step >= 0 && step < kMostSteps, "optimizer: state '", name, "' is ", step, ", not in [0, 2^53)");
  }
  const bool has_groups = lrs_.size() > 1;
  if (has_groups) check_groups(given);
  std::vector<int64_t> steps;
  for (size_t i = 0; i < steps_.size(); ++i) steps.push_back(given.at(str(i, ".step")).item<int64_t>());
  std::vector<std::vector<double>> numbers = numbers_of(given);
  std::vector<double> lrs = has_groups ? given.at("lr").to_vector<double>() : lrs_;
  std::vector<double> initial_lrs = has_groups ? given.at("initial_lr").to_vector<double>() : initial_lrs_;
  for (auto& [name, array] : given) array = array.contiguous();
  return [this, has_groups, mine = std::move(mine), given = std::move(given), steps = std::move(steps),
          numbers = std::move(numbers), lrs = std::move(lrs), initial_lrs = std::move(initial_lrs)]() mutable {
    for (auto& [name, array] : mine) array.copy_from(given.at(name));  // the moments themselves, copies of the rest
    steps_ = std::move(steps);
    numbers_ = std::move(numbers);
    if (!has_groups) return;  // the one rate is its owner's
    lrs_ = std::move(lrs);
    initial_lrs_ = std::move(initial_lrs);
  };
}

SGD::SGD(const std::vector<ParamGroup<SGDOptions>>& groups) {
  check<ValueError>(!groups.empty(), "SGD: there are no parameters");
  for (const auto& [params, o] : groups) {
    check_option("SGD", "momentum", o.momentum);
    check_option("SGD", "weight_decay", o.weight_decay);
    check<ValueError>(std::isfinite(o.dampening), "SGD: dampening ", o.dampening, " is not finite");
    check<ValueError>(!o.nesterov || (o.momentum > 0 && o.dampening == 0),
                      "SGD: Nesterov momentum needs momentum above 0 and no dampening");
    Kept kept;
    if (o.momentum != 0) kept.arrays.push_back("momentum_buffer");
    add_group(params, o.lr, kept);
    options_.push_back(o);
  }
}

void SGD::update(const Slice& slice, int64_t begin, int64_t end) const {
  const SGDOptions& o = options_[slice.group];
  const kernels::SgdStep step{static_cast<float>(slice.lr),
                              static_cast<float>(o.momentum),
                              static_cast<float>(o.dampening),
                              static_cast<float>(o.weight_decay),
                              o.nesterov,
                              slice.step == 1};
  kernels::sgd(step, slice.grad + begin, slice.param + begin, slice.state.empty() ? nullptr : slice.state[0] + begin,
               end - begin);
}

Adam::Adam(const std::vector<ParamGroup<AdamOptions>>& groups, bool decoupled) : decoupled_(decoupled) {
  check<ValueError>(!groups.empty(), "Adam: there are no parameters");
  for (const auto& [params, o] : groups) {
    check_decay("Adam", "beta1", o.beta1);
    check_decay("Adam", "beta2", o.beta2);
    check_option("Adam", "eps", o.eps);
    check_option("Adam", "weight_decay", o.weight_decay);
    Kept kept{.arrays = {"exp_avg", "exp_avg_sq"}};
    if (o.amsgrad) kept.arrays.push_back("max_exp_avg_sq");
    add_group(params, o.lr, kept);
    options_.push_back(o);
  }
}

void Adam::update(const Slice& slice, int64_t begin, int64_t end) const {
  const AdamOptions& o = options_[slice.group];
  const auto t = static_cast<double>(slice.step);
  const kernels::AdamStep step{
      .beta1 = static_cast<float>(o.beta1),
      .beta2 = static_cast<float>(o.beta2),
      .one_minus_beta1 = static_cast<float>(1 - o.beta1),
      .one_minus_beta2 = static_cast<float>(1 - o.beta2),
      .step_size = static_cast<float>(slice.lr / (1 - std::pow(o.beta1, t))),
      .root_correction = static_cast<float>(1 / std::sqrt(1 - std::pow(o.beta2, t))),
      .eps = static_cast<float>(o.eps),
      .l2 = static_cast<float>(decoupled_ ? 0 : o.weight_decay),
      .decay = static_cast<float>(decoupled_ ? 1 - slice.lr * o.weight_decay : 1),
  };
  kernels::adam(step, slice.grad + begin, slice.param + begin, slice.state[0] + begin, slice.state[1] + begin,
                o.amsgrad ? slice.state[2] + begin : nullptr, end - begin);
}

namespace {
std::vector<ParamGroup<AdamOptions>> as_adam(const std::vector<ParamGroup<AdamWOptions>>& groups) {
  std::vector<ParamGroup<AdamOptions>> same;
  for (const auto& [params, o] : groups)
    same.push_back({params, {o.lr, o.beta1, o.beta2, o.eps, o.weight_decay, o.amsgrad}});
  return same;
}
}  // namespace

AdamW::AdamW(const std::vector<ParamGroup<AdamWOptions>>& groups) : Adam(as_adam(groups), true) {}

}  // namespace thimble::optim
