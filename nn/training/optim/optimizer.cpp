#include <algorithm>
#include <cmath>
#include <map>
#include <unordered_set>

#include <thimble/core/kernels/training/optimizer.h>
#include <thimble/core/parallel.h>
#include <thimble/nn/training/optim/optimizer.h>

namespace thimble::optim {

namespace {
constexpr int64_t kGrain = 16384;                 // elements of an update that are worth another thread
constexpr int64_t kMostSteps = int64_t{1} << 53;  // doubles count so far, and more than anything can make

void check_option(const char* optimizer, const char* option, double value) {
  check<ValueError>(std::isfinite(value) && value >= 0, optimizer, ": ", option, " ", value,
                    " must be finite and not negative");
}
}  // namespace

Optimizer::Optimizer(std::vector<Tensor> parameters, double lr, std::vector<std::string> state_names)
    : parameters_(std::move(parameters)), state_names_(std::move(state_names)), steps_(parameters_.size()) {
  check<ValueError>(!parameters_.empty(), "optimizer: there are no parameters");
  set_lr(lr);
  std::unordered_set<const void*> seen;
  for (const Tensor& p : parameters_) {
    check<ValueError>(seen.insert(p.id()).second, "optimizer: a parameter is given twice");
    check<DTypeError>(p.dtype() == DType::float32, "optimizer: parameters must be float32, got ", p.dtype());
    std::vector<NDArray>& arrays = state_.emplace_back();
    for (size_t i = 0; i < state_names_.size(); ++i) arrays.push_back(NDArray::zeros(p.shape()));
  }
}

void Optimizer::set_lr(double lr) {
  check_option("optimizer", "lr", lr);
  lr_ = lr;
}

void Optimizer::step() {
  std::vector<NDArray> grads;  // keeps contiguous copies alive
  std::vector<Slice> slices;
  int64_t total = 0;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    Tensor& p = parameters_[i];
    if (!p.grad().defined()) continue;
    const NDArray& grad = grads.emplace_back(p.grad().data().contiguous());
    if (!p.data().is_contiguous()) p.set_data(p.data().contiguous());
    Slice slice{grad.data<float>(), p.mutable_data().data<float>(), {}, p.numel(), steps_[i] + 1};
    for (NDArray& array : state_[i]) slice.state.push_back(array.data<float>());
    total += slice.n;
    slices.push_back(std::move(slice));
  }
  // From here on nothing fails: a step is made for all parameters or for none.
  for (size_t i = 0; i < parameters_.size(); ++i) steps_[i] += parameters_[i].grad().defined();
  // All parameters as one range, so that many small ones cost one parallel loop.
  parallel_for(total, kGrain, [&](int64_t begin, int64_t end) {
    int64_t start = 0;
    for (const Slice& slice : slices) {
      const int64_t from = std::max(begin - start, int64_t{0}), to = std::min(end - start, slice.n);
      if (from < to) update(slice, from, to);
      start += slice.n;
    }
  });
}

void Optimizer::zero_grad() {
  for (Tensor& p : parameters_) p.set_grad(Tensor());
}

std::vector<std::pair<std::string, NDArray>> Optimizer::state() const {
  std::vector<std::pair<std::string, NDArray>> arrays;
  for (size_t i = 0; i < state_.size(); ++i) {
    arrays.emplace_back(str(i, ".step"), NDArray::from_vector<int64_t>({steps_[i]}, {}));
    for (size_t j = 0; j < state_names_.size(); ++j) arrays.emplace_back(str(i, '.', state_names_[j]), state_[i][j]);
  }
  return arrays;
}

std::function<void()> Optimizer::prepare_state(const std::vector<std::pair<std::string, NDArray>>& arrays) {
  std::map<std::string, NDArray> given(arrays.begin(), arrays.end());
  auto mine = state();
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
  std::vector<int64_t> steps;
  for (size_t i = 0; i < steps_.size(); ++i) steps.push_back(given.at(str(i, ".step")).item<int64_t>());
  for (auto& [name, array] : given) array = array.contiguous();
  return [this, mine = std::move(mine), given = std::move(given), steps = std::move(steps)]() mutable {
    for (auto& [name, array] : mine) array.copy_from(given.at(name));  // the moments themselves, copies of the steps
    steps_ = std::move(steps);
  };
}

SGD::SGD(std::vector<Tensor> parameters, SGDOptions options)
    : Optimizer(std::move(parameters), options.lr,
                options.momentum != 0 ? std::vector<std::string>{"momentum_buffer"} : std::vector<std::string>{}),
      options_(options) {
  check_option("SGD", "momentum", options.momentum);
  check_option("SGD", "weight_decay", options.weight_decay);
  check<ValueError>(std::isfinite(options.dampening), "SGD: dampening ", options.dampening, " is not finite");
  check<ValueError>(!options.nesterov || (options.momentum > 0 && options.dampening == 0),
                    "SGD: Nesterov momentum needs momentum above 0 and no dampening");
}

void SGD::update(const Slice& slice, int64_t begin, int64_t end) const {
  const kernels::SgdStep step{static_cast<float>(lr_),
                              static_cast<float>(options_.momentum),
                              static_cast<float>(options_.dampening),
                              static_cast<float>(options_.weight_decay),
                              options_.nesterov,
                              slice.step == 1};
  kernels::sgd(step, slice.grad + begin, slice.param + begin, slice.state.empty() ? nullptr : slice.state[0] + begin,
               end - begin);
}

Adam::Adam(std::vector<Tensor> parameters, AdamOptions options, bool decoupled)
    : Optimizer(std::move(parameters), options.lr, {"exp_avg", "exp_avg_sq"}),
      options_(options),
      decoupled_(decoupled) {
  for (double beta : {options.beta1, options.beta2})
    check<ValueError>(beta >= 0 && beta < 1, "Adam: beta ", beta, " is not in [0, 1)");
  check_option("Adam", "eps", options.eps);
  check_option("Adam", "weight_decay", options.weight_decay);
}

void Adam::update(const Slice& slice, int64_t begin, int64_t end) const {
  const auto t = static_cast<double>(slice.step);
  const kernels::AdamStep step{
      .beta1 = static_cast<float>(options_.beta1),
      .beta2 = static_cast<float>(options_.beta2),
      .one_minus_beta1 = static_cast<float>(1 - options_.beta1),
      .one_minus_beta2 = static_cast<float>(1 - options_.beta2),
      .step_size = static_cast<float>(lr_ / (1 - std::pow(options_.beta1, t))),
      .root_correction = static_cast<float>(1 / std::sqrt(1 - std::pow(options_.beta2, t))),
      .eps = static_cast<float>(options_.eps),
      .l2 = static_cast<float>(decoupled_ ? 0 : options_.weight_decay),
      .decay = static_cast<float>(decoupled_ ? 1 - lr_ * options_.weight_decay : 1),
  };
  kernels::adam(step, slice.grad + begin, slice.param + begin, slice.state[0] + begin, slice.state[1] + begin,
                end - begin);
}

double clip_grad_norm(const std::vector<Tensor>& parameters, double max_norm) {
  check<ValueError>(max_norm > 0, "clip_grad_norm: max_norm ", max_norm, " must be above 0");
  double squares = 0;
  for (const Tensor& p : parameters) {
    if (!p.grad().defined()) continue;
    check<DTypeError>(p.dtype() == DType::float32, "clip_grad_norm: parameters must be float32, got ", p.dtype());
    for (float g : p.grad().data().to_vector<float>()) squares += static_cast<double>(g) * g;
  }
  const double norm = std::sqrt(squares);
  check<ValueError>(std::isfinite(norm), "clip_grad_norm: the gradients' norm is ", norm);
  if (norm <= max_norm) return norm;
  const auto scale = static_cast<float>(max_norm / norm);
  std::vector<std::pair<Tensor, Tensor>> clipped;  // all of them before any is changed
  for (const Tensor& p : parameters) {
    if (!p.grad().defined()) continue;
    NDArray scaled = p.grad().data().clone();
    float* g = scaled.data<float>();
    for (int64_t i = 0; i < scaled.numel(); ++i) g[i] *= scale;
    clipped.emplace_back(p, scaled);
  }
  for (auto& [p, scaled] : clipped) p.set_grad(scaled);
  return norm;
}

}  // namespace thimble::optim
