// Optimizers: their base, SGD, Adam and AdamW. Names and defaults are PyTorch's. Others have headers of their own:
// rmsprop.h, adagrad.h, nadam.h, lion.h.
//
//   optim::Adam adam(net.parameters(), {.lr = 1e-3});
//   adam.zero_grad(); loss.backward(); adam.step();
//
// Groups of parameters with options of their own:
//
//   optim::SGD sgd({{net.body->parameters(), {.lr = 1e-3}}, {net.head->parameters(), {.lr = 1e-2, .momentum = 0.9}}});
#pragma once

#include <functional>
#include <initializer_list>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/core/tensor.h>
#include <thimble/nn/compiler_messages.h>
#include <thimble/nn/training/optim/clip_grad.h>

namespace thimble::optim {

/// Parameters that are updated with the same options.
template <typename Options>
struct ParamGroup {
  std::vector<Tensor> params;
  Options options = {};
};

/// Base: parameters (float32) in groups, their state (moments), a learning rate for each group.
class THIMBLE_API Optimizer {
 public:
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// Updates each parameter that has a gradient.
  void step();
  /// Forgets the gradients; backward() makes new ones.
  void zero_grad();

  /// The learning rate, that of the first group if there are several.
  double lr() const { return lrs_[0]; }
  /// Of each group.
  const std::vector<double>& lrs() const { return lrs_; }
  /// Sets the learning rate of the first group; the others' keep the ratios to it that they had at first, so that a
  /// schedule acts on all, as PyTorch's LambdaLR does. Throws ValueError for a rate that is negative or not finite, and
  /// with several groups if the first one's was 0.
  void set_lr(double lr);
  /// One for each group, from which set_lr() takes its ratios from now on. Throws ValueError for another number of
  /// them, and for rates that are negative or not finite.
  void set_lrs(const std::vector<double>& lrs);

  /// Everything that the next step depends on besides the parameters and the learning rate: for each parameter how
  /// often it was updated ("0.step", int64 []) and its moments ("0.exp_avg", float32, of the parameter's shape), some
  /// optimizers' numbers ("0.mu_product", float64 []). With several groups the rates, too: "lr" and "initial_lr", from
  /// which the ratios are (float64 [groups]), and "group", that of each parameter (int64 [parameters]).
  NamedArrays state() const;
  /// Copies state() of another run into this optimizer's. Throws ValueError for other names than its own, steps not in
  /// [0, 2^53), numbers and rates that are none or other groups, ShapeError or DTypeError for an array that does not
  /// fit; nothing is changed then.
  void load_state(const NamedArrays& arrays) { prepare_state(arrays)(); }
  /// Throws what load_state() would; what it returns does the rest and cannot fail, so that other things can be loaded
  /// together with this or not at all.
  std::function<void()> prepare_state(const NamedArrays& arrays);

 protected:
  /// What is kept for each parameter of a group.
  struct Kept {
    std::vector<std::string> arrays = {};   // names; each is of the parameter's shape
    double array_value = 0;                 // what is in them at first
    std::vector<std::string> numbers = {};  // names; 1 at first
  };

  Optimizer() = default;
  /// To be called by constructors, at least once. Throws ValueError for no parameters, one that is there already or a
  /// learning rate that is negative or not finite, DTypeError for other than float32.
  void add_group(const std::vector<Tensor>& params, double lr, const Kept& kept);

  /// One parameter's `n` elements, with its arrays and numbers in the order of their names.
  struct Slice {
    const float* grad;
    float* param;
    std::span<float* const> state;
    std::span<const double> numbers;
    int64_t n;
    int64_t step;  // how often this parameter has been updated, this time included: it may have been without gradient
    size_t group;
    double lr;
  };
  /// Updates n elements from `begin` on of the slice; called from several threads on disjoint ranges.
  virtual void update(const Slice& slice, int64_t begin, int64_t end) const = 0;
  /// The numbers of a parameter that will be updated for the step-th time (from 1); called before update(). Cannot
  /// fail.
  virtual void advance(std::span<double> /*numbers*/, size_t /*group*/, int64_t /*step*/) const {}

 private:
  void check_groups(const std::map<std::string, NDArray>& given) const;
  std::vector<std::vector<double>> numbers_of(const std::map<std::string, NDArray>& given) const;
  void make_slices(std::vector<NDArray>& copied_grads);

  std::vector<double> lrs_, initial_lrs_;  // of each group
  std::vector<Kept> kept_;                 // of each group
  std::vector<Tensor> parameters_;
  std::vector<int64_t> group_;                // of each parameter
  std::vector<int64_t> steps_;                // of each parameter
  std::vector<std::vector<NDArray>> state_;   // [parameter][array]
  std::vector<std::vector<double>> numbers_;  // [parameter][number]
  // Of the step being made; kept, so that the next one needs no memory.
  std::vector<Slice> slices_;
  std::vector<float*> slice_states_;
};

/// Options of SGD.
struct THIMBLE_API SGDOptions {
  double lr = 1e-2;
  double momentum = 0;
  double dampening = 0;
  double weight_decay = 0;
  bool nesterov = false;
};

/// Throws ValueError for a negative learning rate, momentum or weight decay, options that are not finite, or Nesterov
/// without momentum.
class THIMBLE_API SGD : public Optimizer {
 public:
  explicit SGD(std::vector<Tensor> parameters, SGDOptions options = {})
      : SGD(std::vector<ParamGroup<SGDOptions>>{{std::move(parameters), options}}) {}
  explicit SGD(const std::vector<ParamGroup<SGDOptions>>& groups);
  SGD(std::initializer_list<ParamGroup<SGDOptions>> groups) : SGD(std::vector(groups)) {}
  template <typename Slip = detail::NotAnOptionOf<SGDOptions>>
  SGD(std::vector<Tensor> parameters, ...) = delete;

 private:
  void update(const Slice& slice, int64_t begin, int64_t end) const override;
  std::vector<SGDOptions> options_;  // of each group
};

/// Options of Adam.
struct THIMBLE_API AdamOptions {
  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;
  /// Divides by the root of the largest second moment so far, in place of the present one's (Reddi et al. 2018).
  bool amsgrad = false;
};

/// Kingma and Ba 2015; weight decay is added to the gradient. Throws ValueError for options out of range.
class THIMBLE_API Adam : public Optimizer {
 public:
  explicit Adam(std::vector<Tensor> parameters, AdamOptions options = {})
      : Adam(std::vector<ParamGroup<AdamOptions>>{{std::move(parameters), options}}) {}
  explicit Adam(const std::vector<ParamGroup<AdamOptions>>& groups) : Adam(groups, false) {}
  Adam(std::initializer_list<ParamGroup<AdamOptions>> groups) : Adam(std::vector(groups)) {}
  template <typename Slip = detail::NotAnOptionOf<AdamOptions>>
  Adam(std::vector<Tensor> parameters, ...) = delete;

 protected:
  Adam(const std::vector<ParamGroup<AdamOptions>>& groups, bool decoupled);

 private:
  void update(const Slice& slice, int64_t begin, int64_t end) const override;
  std::vector<AdamOptions> options_;  // of each group
  bool decoupled_;
};

/// Options of AdamW.
struct THIMBLE_API AdamWOptions {
  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 1e-2;
  bool amsgrad = false;  ///< as in AdamOptions
};

/// Loshchilov and Hutter 2019: weight decay acts on the parameter itself.
class THIMBLE_API AdamW : public Adam {
 public:
  explicit AdamW(std::vector<Tensor> parameters, AdamWOptions options = {})
      : AdamW(std::vector<ParamGroup<AdamWOptions>>{{std::move(parameters), options}}) {}
  explicit AdamW(const std::vector<ParamGroup<AdamWOptions>>& groups);
  AdamW(std::initializer_list<ParamGroup<AdamWOptions>> groups) : AdamW(std::vector(groups)) {}
  template <typename Slip = detail::NotAnOptionOf<AdamWOptions>>
  AdamW(std::vector<Tensor> parameters, ...) = delete;
};

}  // namespace thimble::optim
