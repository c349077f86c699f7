// Random programs of layers and ops, for tests of whatever must work on any of them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <thimble/core/random.h>
#include <thimble/nn/layers/batch_norm.h>

namespace thimble::nn {

/// Steps over the values before them, and what random steps are chosen with.
class RandomProgram : public Module {
 public:
  Tensor forward(const Tensor& x) override {
    std::vector<Tensor> values{x};
    for (const Step& step : steps_) values.push_back(step(values));
    return values[output_];
  }

 protected:
  using Step = std::function<Tensor(const std::vector<Tensor>&)>;
  using Function = std::function<Tensor(const Tensor&)>;

  explicit RandomProgram(uint64_t seed) : rng_(seed) {}

  /// Values are the example's while the program is made.
  void begin(const Tensor& example) { values_ = {example}; }
  void end() {
    output_ = chance(10) ? 1 + static_cast<size_t>(below(values_.size() - 1)) : last();
    values_.clear();
  }

  int64_t below(uint64_t n) { return static_cast<int64_t>(rng_.below(n)); }
  bool chance(uint64_t percent) { return rng_.below(100) < percent; }
  // Few mostly; else more than fill vectors and tiles, of no round number.
  int64_t some_channels() { return chance(85) ? 1 + below(4) : 9 + below(40); }
  NDArray normal(const Shape& shape) { return randn(shape, rng_); }
  NDArray uniform(const Shape& shape, double low, double high) {
    NDArray x(shape);
    for (int64_t i = 0; i < x.numel(); ++i)
      x.data<float>()[i] = static_cast<float>(low + (high - low) * rng_.uniform());
    return x;
  }

  size_t last() const { return values_.size() - 1; }
  const Shape& shape_of(size_t value) const { return values_[value].shape(); }
  int64_t elements_of_sample(size_t value) const { return shape_of(value).numel() / shape_of(value)[0]; }
  // The last value, or some other.
  size_t some_value() {
    const size_t n = values_.size();
    return chance(80) ? n - 1 : static_cast<size_t>(below(n));
  }
  // One of those whose shapes fit, if there are some.
  template <typename Fits>
  size_t some_value_that(Fits&& fits, size_t otherwise) {
    std::vector<size_t> fitting;
    for (size_t i = 0; i < values_.size(); ++i)
      if (fits(shape_of(i))) fitting.push_back(i);
    return fitting.empty() ? otherwise : fitting[static_cast<size_t>(below(fitting.size()))];
  }

  void add(Step step) {
    values_.push_back(step(values_));
    steps_.push_back(std::move(step));
  }
  void apply(size_t value, Function f) {
    add([value, f = std::move(f)](const std::vector<Tensor>& values) { return f(values[value]); });
  }

  template <typename T>
  T* own(const std::string& kind, std::shared_ptr<T> module) {
    T* raw = module.get();
    register_module(kind + std::to_string(children().size()), std::move(module));
    raw->eval();
    return raw;
  }
  template <typename T>
  void call(size_t value, const std::string& kind, std::shared_ptr<T> module) {
    apply(value, [raw = own(kind, std::move(module))](const Tensor& x) { return (*raw)(x); });
  }
  // And may be called again, for values of as many dimensions and this size along the axis.
  template <typename T>
  void call_shared(size_t value, const std::string& kind, std::shared_ptr<T> module, int axis) {
    const Shape s = shape_of(value);
    shareable_.push_back({module.get(), s.ndim(), axis, s[axis]});
    call(value, kind, std::move(module));
  }
  // Returns false if there is no layer that fits.
  bool call_again(size_t value) {
    std::vector<Module*> fitting;
    for (const Shareable& layer : shareable_)
      if (layer.takes(shape_of(value))) fitting.push_back(layer.layer);
    if (fitting.empty()) return false;
    Module* layer = fitting[static_cast<size_t>(below(fitting.size()))];
    try {
      apply(value, [layer](const Tensor& x) { return (*layer)(x); });
    } catch (const ShapeError&) {
      return false;  // a kernel larger than this image, other dimensions to normalize
    }
    return true;
  }
  Tensor own_parameter(const Shape& shape) {
    return register_parameter("p" + std::to_string(steps_.size()), normal(shape));
  }

  void randomize(BatchNorm& bn) {
    bn.running_mean.set_data(uniform(bn.running_mean.shape(), -1, 1));
    bn.running_var.set_data(uniform(bn.running_mean.shape(), 0.05, 2));
    if (!bn.weight.defined()) return;
    bn.weight.set_data(uniform(bn.weight.shape(), -1, 1.5));
    bn.bias.set_data(uniform(bn.weight.shape(), -0.5, 0.5));
  }

 private:
  struct Shareable {
    Module* layer;
    int ndim, axis;
    int64_t size;  // of the input along the axis
    bool takes(const Shape& s) const { return s.ndim() == ndim && s[axis] == size; }
  };

  Generator rng_;
  std::vector<Step> steps_;
  size_t output_ = 0;
  std::vector<Tensor> values_;
  std::vector<Shareable> shareable_;
};

}  // namespace thimble::nn
