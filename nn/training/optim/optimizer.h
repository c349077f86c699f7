// Optimizers, in order of increasing complexity: SGD, Adam, AdamW. Names and defaults are PyTorch's.
//
//   optim::Adam adam(net.parameters(), {.lr = 1e-3});
//   adam.zero_grad(); loss.backward(); adam.step();
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <thimble/core/tensor.h>

namespace thimble::optim {

/// Base: parameters (float32), their state (moments), learning rate.
class Optimizer {
 public:
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// Updates each parameter that has a gradient.
  void step();
  /// Forgets the gradients; backward() makes new ones.
  void zero_grad();

  double lr() const { return lr_; }
  /// Throws ValueError for a rate that is negative or not finite.
  void set_lr(double lr);

  /// Everything that the next step depends on besides the parameters and the learning rate: for each parameter how
  /// often it was updated ("0.step", int64 []) and its moments ("0.exp_avg", float32, of the parameter's shape).
  std::vector<std::pair<std::string, NDArray>> state() const;
  /// Copies state() of another run into this optimizer's. Throws ValueError for other names than its own or steps not
  /// in [0, 2^53), ShapeError or DTypeError for an array that does not fit; nothing is changed then.
  void load_state(const std::vector<std::pair<std::string, NDArray>>& arrays) { prepare_state(arrays)(); }
  /// Throws what load_state() would; what it returns does the rest and cannot fail, so that other things can be loaded
  /// together with this or not at all.
  std::function<void()> prepare_state(const std::vector<std::pair<std::string, NDArray>>& arrays);

 protected:
  /// Throws ValueError for no parameters, one that is given twice or a learning rate that is negative or not finite,
  /// DTypeError for other than float32. state_names are the arrays kept for each parameter, zeros at first.
  Optimizer(std::vector<Tensor> parameters, double lr, std::vector<std::string> state_names);

  /// One parameter's `n` elements, with its state arrays in the order of state_names.
  struct Slice {
    const float* grad;
    float* param;
    std::vector<float*> state;
    int64_t n;
    int64_t step;  // how often this parameter has been updated, this time included: it may have been without gradient
  };
  /// Updates n elements from `begin` on of the slice; called from several threads on disjoint ranges.
  virtual void update(const Slice& slice, int64_t begin, int64_t end) const = 0;

  double lr_;

 private:
  std::vector<Tensor> parameters_;
  std::vector<std::string> state_names_;
  std::vector<int64_t> steps_;               // of each parameter
  std::vector<std::vector<NDArray>> state_;  // [parameter][state name]
};

struct SGDOptions {
  double lr = 1e-2;
  double momentum = 0;
  double dampening = 0;
  double weight_decay = 0;
  bool nesterov = false;
};

/// Throws ValueError for a negative learning rate, momentum or weight decay, options that are not finite, or Nesterov
/// without momentum.
class SGD : public Optimizer {
 public:
  explicit SGD(std::vector<Tensor> parameters, SGDOptions options = {});

 private:
  void update(const Slice& slice, int64_t begin, int64_t end) const override;
  SGDOptions options_;
};

struct AdamOptions {
  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;
};

/// Kingma and Ba 2015; weight decay is added to the gradient. Throws ValueError for options out of range.
class Adam : public Optimizer {
 public:
  explicit Adam(std::vector<Tensor> parameters, AdamOptions options = {})
      : Adam(std::move(parameters), options, false) {}

 protected:
  Adam(std::vector<Tensor> parameters, AdamOptions options, bool decoupled);

 private:
  void update(const Slice& slice, int64_t begin, int64_t end) const override;
  AdamOptions options_;
  bool decoupled_;
};

struct AdamWOptions {
  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 1e-2;
};

/// Loshchilov and Hutter 2019: weight decay acts on the parameter itself.
class AdamW : public Adam {
 public:
  explicit AdamW(std::vector<Tensor> parameters, AdamWOptions o = {})
      : Adam(std::move(parameters), {o.lr, o.beta1, o.beta2, o.eps, o.weight_decay}, true) {}
};

/// Scales all gradients so that their joint 2-norm is at most max_norm; returns the norm before. Throws ValueError for
/// a max_norm that is not positive or a norm that is not finite, DTypeError for parameters that are not float32.
double clip_grad_norm(const std::vector<Tensor>& parameters, double max_norm);

}  // namespace thimble::optim
