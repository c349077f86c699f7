// Random models, for tests of whatever must work on any of them.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <thimble/core/ops.h>
#include <thimble/core/random.h>
#include <thimble/nn/layers/activation.h>
#include <thimble/nn/layers/batch_norm.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/conv.h>
#include <thimble/nn/layers/conv_bn_relu.h>
#include <thimble/nn/layers/dropout.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/nn/layers/pool.h>

namespace thimble::nn {

/// A program of random steps: layers, containers and plain ops over the values before them, the last one most often.
/// Images, sequences [n, channels, length] or rows; convolutions of all kinds, batch normalization with random
/// statistics and some in training mode, activations as functions and as modules, pools, sums, concatenations, also
/// with clamps right behind them, shared layers, parameters used by ops, values that are used twice or not at all. In
/// evaluation mode but for those normalizations.
class RandomModel : public Module {
 public:
  /// Starts this thread's default generator anew, from which layers are initialized.
  explicit RandomModel(uint64_t seed) : rng_(seed) {
    manual_seed(seed);
    const NoGrad guard;
    const int64_t batch = 1 + below(3);
    const uint64_t form = below(10);
    if (form < 7)
      example_ = randn({batch, 1 + below(4), 5 + below(6), 5 + below(6)}, rng_);
    else if (form < 9)
      example_ = randn({batch, 1 + below(8)}, rng_);
    else
      example_ = randn({batch, 1 + below(4), 4 + below(5)}, rng_);
    eval();
    values_ = {example_};
    for (int64_t n = 4 + below(12); n > 0; --n) add_some();
    output_ = chance(10) ? 1 + static_cast<size_t>(below(values_.size() - 1)) : values_.size() - 1;
    values_.clear();
    for (BatchNorm* bn : in_training_) bn->train();
  }

  Tensor forward(const Tensor& x) override {
    std::vector<Tensor> values{x};
    for (const Step& step : steps_) values.push_back(step(values));
    return values[output_];
  }

  const Tensor& example() const { return example_; }
  /// Another input, of this many samples.
  Tensor input(int64_t batch, Generator& rng) const {
    Shape shape = example_.shape();
    shape[0] = batch;
    return randn(shape, rng);
  }

 private:
  using Step = std::function<Tensor(const std::vector<Tensor>&)>;
  using Function = std::function<Tensor(const Tensor&)>;
  struct Shareable {
    Module* layer;
    int ndim;
    int64_t channels;  // of the input
  };

  int64_t below(uint64_t n) { return static_cast<int64_t>(rng_.below(n)); }
  bool chance(uint64_t percent) { return rng_.below(100) < percent; }
  const Shape& shape_of(size_t value) const { return values_[value].shape(); }

  // The last value, or some other.
  size_t some_value() {
    const size_t n = values_.size();
    return chance(80) ? n - 1 : static_cast<size_t>(below(n));
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

  void add_some() {
    const size_t value = some_value();
    const int ndim = shape_of(value).ndim();
    if (chance(12)) return add_activation(value);
    if (chance(12)) return add_sum(value);
    if (chance(8)) return add_concat(value);
    if (chance(8) && add_fork(value)) return;
    if (chance(6)) return add_parameter(value);
    if (chance(15) && add_shared_call(value)) return;
    if (ndim == 4)
      add_image_step(value);
    else if (ndim == 3)
      add_sequence_step(value);
    else
      add_linear(value);
  }

  // A value that a product reads, and also a concatenation, mostly with a clamp right behind it.
  bool add_fork(size_t value) {
    if (shape_of(value).ndim() == 3) return false;
    const int64_t channels = 1 + below(4);
    add_pointwise(value, channels);
    const size_t first = last();
    add_concat(chance(70) ? value : first);
    if (chance(70)) add_clamp(last());
    add_pointwise(last(), channels);
    const size_t second = last();
    if (shape_of(first) == shape_of(second))
      add([first, second](const std::vector<Tensor>& values) { return values[first] + values[second]; });
    return true;
  }

  void add_pointwise(size_t value, int64_t channels) {
    const Shape s = shape_of(value);
    if (s.ndim() == 4)
      call(value, "conv", std::make_shared<Conv2d>(s[1], channels, 1));
    else
      call(value, "fc", std::make_shared<Linear>(s[1], channels));
  }

  void add_clamp(size_t value) {
    switch (below(3)) {
      case 0:
        return apply(value, [](const Tensor& x) { return relu(x); });
      case 1:
        return apply(value, [](const Tensor& x) { return relu6(x); });
      default:
        return apply(value, [](const Tensor& x) { return clamp(x, -0.25, 0.75); });
    }
  }

  void add_image_step(size_t value) {
    const Shape s = shape_of(value);
    if (chance(8)) return apply(value, [](const Tensor& x) { return flatten(x, 1); });
    if (chance(5)) return apply(value, [](const Tensor& x) { return flatten(global_avg_pool2d(x), 1); });
    if (chance(15) && s[2] > 3 && s[3] > 3) return add_pool(value);
    if (chance(10)) return add_block(value);
    if (chance(10)) return add_batch_norm(value);
    add_conv2d(value);
    if (chance(70)) add_batch_norm(last());
    if (chance(60)) add_activation(last());
  }

  void add_sequence_step(size_t value) {
    const Shape s = shape_of(value);
    if (chance(10)) return apply(value, [](const Tensor& x) { return flatten(x, 1); });
    if (chance(40)) {
      const int64_t kernel = 1 + below(static_cast<uint64_t>(std::min<int64_t>(3, s[2]))), groups = groups_of(s[1]);
      const Conv1d::Options options{.stride = 1 + below(2), .padding = below(2), .groups = groups, .bias = chance(50)};
      call(value, "conv", std::make_shared<Conv1d>(s[1], groups * (1 + below(3)), kernel, options));
    } else {
      // As many features as channels: batch normalization behind it must not be taken for one of features.
      const int64_t features = chance(70) ? s[1] : 1 + below(8);
      call(value, "fc", std::make_shared<Linear>(s[2], features, Linear::Options{.bias = chance(50)}));
    }
    if (chance(70)) add_batch_norm(last());
    if (chance(50)) add_activation(last());
  }

  void add_linear(size_t value) {
    const int64_t in = shape_of(value)[1];
    const Linear::Options options{.bias = chance(70)};
    const auto layer = std::make_shared<Linear>(in, 1 + below(8), options);
    call(value, "fc", layer);
    shareable_.push_back({layer.get(), 2, in});
    if (chance(50)) add_batch_norm(last());
    if (chance(50)) add_activation(last());
  }

  size_t last() const { return values_.size() - 1; }

  int64_t groups_of(int64_t channels) { return chance(25) ? channels : channels % 2 == 0 && chance(25) ? 2 : 1; }

  // Compilers choose the order of a call's arguments: where two are random, each has a statement of its own.
  Pair small_stride() {
    const int64_t width = 1 + below(2), height = 1 + below(2);
    return {height, width};
  }

  Conv2d::Options conv2d_options(int64_t channels) {
    const Padding paddings[] = {0, 1, Padding(1, 0), Padding(0, 1, 1, 0)};
    return {.stride = chance(25) ? small_stride() : Pair(1),
            .padding = paddings[below(4)],
            .groups = groups_of(channels),
            .bias = chance(50)};
  }

  Pair kernel_for(const Shape& image) {
    const auto size = [&](int64_t most) { return 1 + below(static_cast<uint64_t>(std::min<int64_t>(3, most))); };
    return {size(image[2]), size(image[3])};
  }

  void add_conv2d(size_t value) {
    const Shape s = shape_of(value);
    Conv2d::Options options = conv2d_options(s[1]);
    if (chance(10) && s[2] > 4 && s[3] > 4) options.dilation = 2;
    // Of as many channels as it takes now and then, so that it may be called once more and summed with its input.
    const int64_t out = chance(40) ? s[1] : options.groups * (1 + below(4));
    const auto layer = std::make_shared<Conv2d>(s[1], out, kernel_for(s), options);
    call(value, "conv", layer);
    shareable_.push_back({layer.get(), 4, s[1]});
  }

  void add_block(size_t value) {
    const Shape s = shape_of(value);
    if (chance(50)) {
      const Pair kernel = kernel_for(s);
      const auto block = std::make_shared<ConvBNReLU>(s[1], 1 + below(4), kernel);
      randomize(block->bn());
      return call(value, "block", block);
    }
    const auto body = std::make_shared<Sequential>();
    const Conv2d::Options same{.padding = 1};
    const auto bn = std::make_shared<BatchNorm2d>(s[1]);
    randomize(*bn);
    body->emplace<Conv2d>(s[1], s[1], 3, same).add(bn).emplace<ReLU>().emplace<Conv2d>(s[1], s[1], 3, same);
    call(value, "residual", std::make_shared<Residual>(body));
  }

  void add_pool(size_t value) {
    switch (below(4)) {
      case 0:
        return apply(value, [](const Tensor& x) { return max_pool2d(x, 2); });
      case 1:
        return call(value, "pool", std::make_shared<MaxPool2d>(3, MaxPool2dOptions{.stride = 2, .padding = 1}));
      case 2:
        return apply(value, [](const Tensor& x) { return avg_pool2d(x, 2, {.stride = 1}); });
      default:
        return call(value, "pool", std::make_shared<AdaptiveAvgPool2d>(3));
    }
  }

  void randomize(BatchNorm& bn) {
    const auto uniform = [&](double low, double high) {
      NDArray x(bn.running_mean.shape());
      for (int64_t i = 0; i < x.numel(); ++i)
        x.data<float>()[i] = static_cast<float>(low + (high - low) * rng_.uniform());
      return x;
    };
    bn.running_mean.set_data(uniform(-1, 1));
    bn.running_var.set_data(uniform(0.05, 2));
    if (!bn.weight.defined()) return;
    bn.weight.set_data(uniform(-1, 1.5));
    bn.bias.set_data(uniform(-0.5, 0.5));
  }

  void add_batch_norm(size_t value) {
    const Shape s = shape_of(value);
    const BatchNorm::Options options{.eps = chance(20) ? 0.1 : 1e-5, .affine = chance(80)};
    std::shared_ptr<BatchNorm> bn;
    if (s.ndim() == 4)
      bn = std::make_shared<BatchNorm2d>(s[1], options);
    else
      bn = std::make_shared<BatchNorm1d>(s[1], options);
    randomize(*bn);
    call(value, "bn", bn);
    shareable_.push_back({bn.get(), s.ndim(), s[1]});
    if (chance(10)) in_training_.push_back(bn.get());
  }

  void add_activation(size_t value) {
    switch (below(9)) {
      case 8:
        return add_clamp(value);
      case 0:
        return apply(value, [](const Tensor& x) { return tanh(x); });
      case 1:
        return call(value, "act", std::make_shared<GELU>());
      case 2:
        return call(value, "dropout", std::make_shared<Dropout>(0.3));
      case 3:
      case 4:
        return call(value, "act", std::make_shared<ReLU>());
      default:
        return apply(value, [](const Tensor& x) { return relu(x); });
    }
  }

  void add_sum(size_t value) {
    std::vector<size_t> others;
    for (size_t i = 0; i < values_.size(); ++i)
      if (shape_of(i) == shape_of(value)) others.push_back(i);
    const size_t other = others[static_cast<size_t>(below(others.size()))];
    if (chance(15))
      apply(value, [](const Tensor& x) { return x + 0.25; });
    else
      add([value, other](const std::vector<Tensor>& values) { return values[other] + values[value]; });
    if (chance(60)) apply(last(), [](const Tensor& x) { return relu(x); });
  }

  void add_concat(size_t value) {
    std::vector<size_t> others;
    for (size_t i = 0; i < values_.size(); ++i) {
      Shape a = shape_of(i), b = shape_of(value);
      if (a.ndim() != b.ndim()) continue;
      a[1] = b[1] = 0;
      if (a == b) others.push_back(i);
    }
    const size_t other = others[static_cast<size_t>(below(others.size()))];
    add([value, other](const std::vector<Tensor>& values) { return concat({values[value], values[other]}, 1); });
    if (chance(40)) add_clamp(last());
  }

  // A parameter that ops use, through a constant expression half of the time.
  void add_parameter(size_t value) {
    Shape shape{shape_of(value)[1]};
    for (int d = 2; d < shape_of(value).ndim(); ++d) shape.push_back(1);
    const Tensor p = register_parameter("p" + std::to_string(steps_.size()), randn(shape, rng_));
    if (chance(50))
      apply(value, [p](const Tensor& x) { return x * tanh(p); });
    else
      apply(value, [p](const Tensor& x) { return x + p; });
  }

  bool add_shared_call(size_t value) {
    std::vector<Module*> fitting;
    const Shape s = shape_of(value);
    for (const Shareable& layer : shareable_)
      if (layer.ndim == s.ndim() && layer.channels == s[1]) fitting.push_back(layer.layer);
    if (fitting.empty()) return false;
    Module* layer = fitting[static_cast<size_t>(below(fitting.size()))];
    try {
      apply(value, [layer](const Tensor& x) { return (*layer)(x); });
    } catch (const ShapeError&) {
      return false;  // a kernel larger than this image
    }
    return true;
  }

  Generator rng_;
  Tensor example_;
  std::vector<Step> steps_;
  size_t output_ = 0;
  std::vector<Tensor> values_;  // of the example, while the program is made
  std::vector<Shareable> shareable_;
  std::vector<BatchNorm*> in_training_;
};

}  // namespace thimble::nn
