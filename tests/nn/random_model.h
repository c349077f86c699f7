// Random models, for tests of whatever must work on any of them.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "tests/nn/random_blocks.h"
#include <thimble/nn/layers/activation.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/conv_bn_relu.h>
#include <thimble/nn/layers/dropout.h>
#include <thimble/nn/layers/pool.h>

namespace thimble::nn {

/// A program of random steps: layers, containers and plain ops over the values before them, the last one most often.
/// Images, sequences [n, channels, length] or rows; convolutions of all kinds, batch normalization with random
/// statistics and some in training mode, activations as functions and as modules, pools, sums, concatenations, also
/// with clamps right behind them, shared layers, parameters used by ops, values that are used twice or not at all, and
/// what random_blocks.h has. In evaluation mode but for those normalizations.
class RandomModel : public RandomBlocks {
 public:
  /// Starts this thread's default generator anew, from which layers are initialized.
  explicit RandomModel(uint64_t seed) : RandomBlocks(seed) {
    manual_seed(seed);
    const NoGrad guard;
    eval();
    example_ = random_input(1 + below(3));
    begin(example_);
    for (int64_t n = 4 + below(12); n > 0; --n) add_some();
    if (chance(60)) add_pointwise(last(), some_channels());  // as a head: what is before it may become integer
    end();
    for (BatchNorm* bn : in_training_) bn->train();
  }

  const Tensor& example() const { return example_; }
  /// Another input, of this many samples.
  Tensor input(int64_t batch, Generator& rng) const {
    Shape shape = example_.shape();
    shape[0] = batch;
    return randn(shape, rng);
  }

 private:
  // Compilers choose the order of a call's arguments: where several are random, each has a statement of its own.
  Tensor random_input(int64_t batch) {
    const int64_t form = below(10), channels = some_channels(), most = chance(85) ? 6 : 20, first = below(most),
                  second = below(most);
    if (form < 6) return normal({batch, channels, 5 + first, 5 + second});
    if (form < 7) return normal({batch, channels + 2 * first});
    return normal({batch, channels + first, 4 + second});
  }

  void add_some() {
    const size_t value = some_value();
    const int ndim = shape_of(value).ndim();
    if (chance(10)) return add_activation(value);
    if (chance(10)) return add_function(value);
    if (chance(12)) return add_sum(value);
    if (chance(8)) return add_concat(value);
    if (chance(8) && add_fork(value)) return;
    if (chance(6)) return add_parameter(value);
    if (chance(4)) return add_constant(value);
    if (chance(10)) return add_pair(value);
    if (chance(3)) return add_softmax(value);
    if (chance(6)) return add_layer_norm(value);
    if (chance(3)) return add_group_norm(value);
    if (chance(15) && call_again(value)) return;
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
    const int64_t channels = some_channels();
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
      call(value, "fc", std::make_shared<Linear>(s.back(), channels));
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
    if (chance(20) && s[2] > 3 && s[3] > 3) return add_pool(value);
    if (chance(10)) return add_block(value);
    if (chance(10)) return add_batch_norm(value);
    if (chance(12)) return add_gate(value);
    if (chance(34)) return add_move(value);
    if (chance(4)) return add_mean(value);
    if (chance(4) && s[2] * s[3] <= 64) return add_tokens(value);
    if (chance(4)) return add_matmul(value);
    if (chance(12) && elements_of_sample(value) * 6 <= kMostElements)
      add_conv_transpose2d(value);
    else
      add_conv2d(value);
    if (chance(70)) add_batch_norm(last());
    if (chance(60)) add_activation(last());
  }

  void add_sequence_step(size_t value) {
    const Shape s = shape_of(value);
    if (chance(8)) return apply(value, [](const Tensor& x) { return flatten(x, 1); });
    if (chance(8)) return add_mean(value);
    if (chance(30)) return add_attention(value);
    if (chance(10)) return add_matmul(value);
    if (chance(40)) {
      const int64_t kernel = 1 + below(static_cast<uint64_t>(std::min<int64_t>(3, s[2]))), groups = groups_of(s[1]);
      const Conv1d::Options options{.stride = 1 + below(2), .padding = below(2), .groups = groups, .bias = chance(50)};
      const auto layer = std::make_shared<Conv1d>(s[1], groups * (1 + below(3)), kernel, options);
      call_shared(value, "conv", layer, 1);
    } else {
      // As many features as channels: batch normalization behind it must not be taken for one of features.
      const int64_t features = chance(70) ? s[1] : 2 * some_channels();
      const auto layer = std::make_shared<Linear>(s[2], features, Linear::Options{.bias = chance(50)});
      call_shared(value, "fc", layer, 2);
    }
    if (chance(70)) add_batch_norm(last());
    if (chance(50)) add_activation(last());
  }

  void add_linear(size_t value) {
    const int64_t in = shape_of(value)[1];
    const Linear::Options options{.bias = chance(70)};
    const auto layer = std::make_shared<Linear>(in, 2 * some_channels(), options);
    call_shared(value, "fc", layer, 1);
    if (chance(50)) add_batch_norm(last());
    if (chance(50)) add_activation(last());
  }

  int64_t groups_of(int64_t channels) { return chance(25) ? channels : channels % 2 == 0 && chance(25) ? 2 : 1; }

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
    const int64_t out = chance(40) ? s[1] : options.groups * (options.groups > 8 ? 1 + below(2) : some_channels());
    const auto layer = std::make_shared<Conv2d>(s[1], out, kernel_for(s), options);
    call_shared(value, "conv", layer, 1);
  }

  void add_conv_transpose2d(size_t value) {
    const int64_t channels = shape_of(value)[1], out = some_channels(), stride = 1 + below(2),
                  kernel = stride + below(3);
    const Pair extra = stride > 1 && chance(30) ? Pair(1) : Pair(0);
    const Padding padding = kernel > 2 && chance(40) ? Padding(1) : Padding(0);
    const ConvTranspose2d::Options options{
        .stride = stride, .padding = padding, .output_padding = extra, .bias = chance(50)};
    call_shared(value, "up", std::make_shared<ConvTranspose2d>(channels, out, kernel, options), 1);
  }

  void add_block(size_t value) {
    const Shape s = shape_of(value);
    if (chance(50)) {
      const Pair kernel = kernel_for(s);
      const auto block = std::make_shared<ConvBNReLU>(s[1], some_channels(), kernel);
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

  void add_batch_norm(size_t value) {
    const Shape s = shape_of(value);
    const BatchNorm::Options options{.eps = chance(20) ? 0.1 : 1e-5, .affine = chance(80)};
    std::shared_ptr<BatchNorm> bn;
    if (s.ndim() == 4)
      bn = std::make_shared<BatchNorm2d>(s[1], options);
    else
      bn = std::make_shared<BatchNorm1d>(s[1], options);
    randomize(*bn);
    call_shared(value, "bn", bn, 1);
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
    const Shape s = shape_of(value);
    const size_t other = some_value_that([&](const Shape& shape) { return shape == s; }, value);
    if (chance(15))
      apply(value, [](const Tensor& x) { return x + 0.25; });
    else
      add([value, other](const std::vector<Tensor>& values) { return values[other] + values[value]; });
    if (chance(60)) apply(last(), [](const Tensor& x) { return relu(x); });
  }

  void add_concat(size_t value) {
    const auto without_channels = [](Shape s) {
      s[1] = 0;
      return s;
    };
    const Shape wanted = without_channels(shape_of(value));
    const size_t other = some_value_that([&](const Shape& shape) { return without_channels(shape) == wanted; }, value);
    add([value, other](const std::vector<Tensor>& values) { return concat({values[value], values[other]}, 1); });
    if (chance(40)) add_clamp(last());
  }

  // A parameter that ops use, through a constant expression half of the time.
  void add_parameter(size_t value) {
    Shape shape{shape_of(value)[1]};
    for (int d = 2; d < shape_of(value).ndim(); ++d) shape.push_back(1);
    const Tensor p = own_parameter(shape);
    if (chance(50))
      apply(value, [p](const Tensor& x) { return x * tanh(p); });
    else
      apply(value, [p](const Tensor& x) { return x + p; });
  }

  Tensor example_;
  std::vector<BatchNorm*> in_training_;
};

}  // namespace thimble::nn
