// What random models draw besides layers of weights and their activations.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "tests/nn/random_program.h"
#include <thimble/core/ops.h>
#include <thimble/nn/layers/conv.h>
#include <thimble/nn/layers/group_norm.h>
#include <thimble/nn/layers/layer_norm.h>
#include <thimble/nn/layers/linear.h>

namespace thimble::nn {

/// Functions of one value, as an op or spelled out; constants; products of values, gates, attention; softmax, layer
/// normalization, means; what moves elements.
class RandomBlocks : public RandomProgram {
 protected:
  using RandomProgram::RandomProgram;

  static constexpr int64_t kMostElements = 3000;  // of a sample, so that models stay small

  void add_function(size_t value) {
    static const Function kOps[] = {
        [](const Tensor& x) { return hardswish(x); },
        [](const Tensor& x) { return silu(x); },
        [](const Tensor& x) { return gelu(x); },
        [](const Tensor& x) { return gelu_tanh(x); },
        [](const Tensor& x) { return leaky_relu(x, 0.1); },
        [](const Tensor& x) { return tanh(x); },
        [](const Tensor& x) { return sigmoid(x); },
        [](const Tensor& x) { return hardsigmoid(x); },
        [](const Tensor& x) { return elu(x); },
        [](const Tensor& x) { return softplus(x); },
        [](const Tensor& x) { return mish(x); },
        [](const Tensor& x) { return x * clamp(x + 3, 0, 6) / 6; },
        [](const Tensor& x) { return x * relu6(x + 3.0) * (1 / 6.0); },
        [](const Tensor& x) { return x * sigmoid(x); },
        [](const Tensor& x) { return 0.5 * x * (1 + erf(x / std::sqrt(2.0))); },
        [](const Tensor& x) { return maximum(x, 0.1 * x); },
        [](const Tensor& x) { return 2 * sigmoid(2 * x) - 1; },
        [](const Tensor& x) { return 1 / (1 + exp(-clamp(x, -30, 30))); },
        [](const Tensor& x) { return abs(x) - 0.5; },
    };
    apply(value, kOps[below(std::size(kOps))]);
  }

  void add_constant(size_t value) {
    static const Function kOps[] = {
        [](const Tensor& x) { return x * 0.5; }, [](const Tensor& x) { return x * -1.5; },
        [](const Tensor& x) { return x / 3; },   [](const Tensor& x) { return x - 0.25; },
        [](const Tensor& x) { return 1.0 - x; }, [](const Tensor& x) { return -x; },
        [](const Tensor& x) { return 0.3 * x; },
    };
    apply(value, kOps[below(std::size(kOps))]);
  }

  // Of two values of one shape, or of a value and a constant that is broadcast to it.
  void add_pair(size_t value) {
    using Pair = std::function<Tensor(const Tensor& a, const Tensor& b)>;
    static const Pair kPairs[] = {
        [](const Tensor& a, const Tensor& b) { return a * b; },
        [](const Tensor& a, const Tensor& b) { return a - b; },
        [](const Tensor& a, const Tensor& b) { return maximum(a, b); },
        [](const Tensor& a, const Tensor& b) { return minimum(a, b); },
    };
    const Pair& pair = kPairs[below(std::size(kPairs))];
    const Shape s = shape_of(value);
    const size_t other = some_value_that([&](const Shape& shape) { return shape == s; }, value);
    if (other == value || chance(20)) return add_pair_with_constant(value, pair);
    add([=](const std::vector<Tensor>& values) { return pair(values[other], values[value]); });
  }

  // A number for each channel, or each row, or each element of a sample.
  template <typename Pair>
  void add_pair_with_constant(size_t value, const Pair& pair) {
    Shape shape = shape_of(value);
    shape[0] = 1;
    const int64_t kind = below(3);
    for (int d = 1; d < shape.ndim(); ++d)
      if ((kind == 0 && d != 1) || (kind == 1 && d == 1)) shape[d] = 1;
    if (chance(50)) shape = Shape(std::vector<int64_t>(shape.begin() + 1, shape.end()));
    const Tensor constant = own_parameter(shape);
    const bool first = chance(50);
    apply(value, [=](const Tensor& x) { return first ? pair(constant, x) : pair(x, constant); });
  }

  void add_softmax(size_t value) {
    const int ndim = shape_of(value).ndim();
    const int64_t axis = chance(70) ? -1 : 1 + below(static_cast<uint64_t>(ndim - 1));
    apply(value, [axis](const Tensor& x) { return softmax(x, axis); });
  }

  void add_layer_norm(size_t value) {
    const Shape s = shape_of(value);
    Shape normalized{s.back()};
    if (s.ndim() > 2 && chance(20)) normalized.insert(0, s[s.ndim() - 2]);
    const bool affine = chance(80);
    const auto layer = std::make_shared<LayerNorm>(normalized, LayerNorm::Options{.elementwise_affine = affine});
    if (affine) {
      Tensor(layer->weight).set_data(uniform(normalized, -1, 1.5));
      Tensor(layer->bias).set_data(uniform(normalized, -0.5, 0.5));
    }
    call_shared(value, "norm", layer, s.ndim() - 1);
  }

  // Of an image or a sequence; of single channels now and then.
  void add_group_norm(size_t value) {
    const Shape s = shape_of(value);
    const int64_t channels = s[1];
    if (s.ndim() < 3 || elements_of_sample(value) / channels < 4) return;
    const int64_t groups = chance(40) ? channels : channels % 2 == 0 ? 2 : 1;
    const bool affine = chance(80);
    const auto layer = std::make_shared<GroupNorm>(groups, channels, GroupNorm::Options{.affine = affine});
    if (affine) {
      Tensor(layer->weight).set_data(uniform({channels}, -1, 1.5));
      Tensor(layer->bias).set_data(uniform({channels}, -0.5, 0.5));
    }
    call_shared(value, "norm", layer, 1);
  }

  // Over an image's pixels, or over the tokens or features of a sequence.
  void add_mean(size_t value) {
    const bool keepdim = chance(50);
    const Shape s = shape_of(value);
    const Shape axes = s.ndim() == 4 ? Shape{2, 3} : Shape{s.ndim() == 3 ? 1 + below(2) : 1};
    const bool keeps = keepdim || s.ndim() == 2;
    apply(value, [axes, keeps](const Tensor& x) { return mean(x, axes, keeps); });
  }

  // Squeeze and excitation: [n, c, h, w] * [n, c, 1, 1].
  void add_gate(size_t value) {
    const int64_t channels = shape_of(value)[1], middle = some_channels();
    Conv2d* squeeze = own("squeeze", std::make_shared<Conv2d>(channels, middle, 1));
    Conv2d* excite = own("excite", std::make_shared<Conv2d>(middle, channels, 1));
    const bool as_mean = chance(50), hard = chance(40), gate_first = chance(30);
    apply(value, [=](const Tensor& x) {
      const Tensor pooled = as_mean ? mean(x, {2, 3}, true) : global_avg_pool2d(x);
      const Tensor inner = (*excite)(relu((*squeeze)(pooled)));
      const Tensor gate = hard ? hardsigmoid(inner) : sigmoid(inner);
      return gate_first ? gate * x : x * gate;
    });
  }

  // Of a value's last dimension with itself, [.., c, l] x [.., l, c], or with another's.
  void add_matmul(size_t value) {
    const Shape s = shape_of(value);
    const double scale = 1 / std::sqrt(static_cast<double>(s.back()));
    const size_t other = some_value_that(
        [&](const Shape& shape) { return s.ndim() == 3 && shape.ndim() == 3 && shape[1] == s[2] && shape[0] == s[0]; },
        value);
    if (other != value)
      add([=](const std::vector<Tensor>& values) { return matmul(values[value], values[other]); });
    else if (s[s.ndim() - 2] <= 12)
      apply(value, [=](const Tensor& x) { return matmul(x, transpose(x, -1, -2)) * scale; });
  }

  // x [n, tokens, features] -> the same. Queries, keys and values of one layer or of three; what the scores are scaled
  // by, where and how, and whether the future is masked, differ.
  void add_attention(size_t value) {
    const Shape s = shape_of(value);
    const int64_t tokens = s[1], features = s[2], heads = 1 + below(2), size = some_channels(), width = heads * size;
    const Linear::Options options{.bias = chance(70)};
    Linear* qkv = nullptr;
    std::vector<Linear*> parts;
    if (chance(50))
      qkv = own("qkv", std::make_shared<Linear>(features, 3 * width, options));
    else
      for (const char* name : {"query", "key", "value"})
        parts.push_back(own(name, std::make_shared<Linear>(features, width, options)));
    Linear* out = own("out", std::make_shared<Linear>(width, features));
    const int64_t scaling = below(4);
    const bool masked = chance(30), residual = chance(60);
    const double factor = 1 / std::sqrt(static_cast<double>(size));
    const Function add_mask = masked ? some_mask(tokens) : [](const Tensor& scores) { return scores; };
    apply(value, [=](const Tensor& x) {
      const auto part = [&](int64_t i) {
        if (!qkv) return permute(reshape((*parts[static_cast<size_t>(i)])(x), {-1, tokens, heads, size}), {0, 2, 1, 3});
        const Tensor all = permute(reshape((*qkv)(x), {-1, tokens, 3, heads, size}), {2, 0, 3, 1, 4});
        return squeeze(slice(all, 0, i, i + 1), 0);
      };
      Tensor q = part(0);
      if (scaling == 1) q = q * factor;
      Tensor scores = matmul(q, transpose(part(1), 2, 3));
      if (scaling == 2) scores = scores * factor;
      if (scaling == 3) scores = scores / (1 / factor);
      scores = add_mask(scores);
      const Tensor mixed = permute(matmul(softmax(scores, -1), part(2)), {0, 2, 1, 3});
      const Tensor y = (*out)(reshape(mixed, {-1, tokens, width}));
      return residual ? x + y : y;
    });
  }

  // An image's pixels as tokens, [n, h * w, c].
  void add_tokens(size_t value) {
    apply(value, [](const Tensor& x) { return permute(flatten(x, 2), {0, 2, 1}); });
  }

  // Puts an image's elements elsewhere.
  void add_move(size_t value) {
    const Shape s = shape_of(value);
    const int64_t elements = elements_of_sample(value);
    switch (below(10)) {
      case 0:
      case 9:
        return add_pad(value);
      case 1:
        if (s[1] % 4 == 0) {
          const bool depth_first = chance(50);
          return apply(value, [=](const Tensor& x) { return pixel_shuffle(x, 2, depth_first); });
        }
        return;
      case 2:
        if (elements * 4 <= kMostElements) apply(value, [](const Tensor& x) { return upsample_nearest2d(x, 2); });
        return;
      case 3:
        if (s[1] % 2 == 0) add_channel_shuffle(value);
        return;
      case 4:
      case 5:
        return add_resize(value);
      case 6:
        return add_arrangement(value);
      default:
        if (s[1] > 1) add_split(value);
    }
  }

  void add_pad(size_t value) {
    const Shape s = shape_of(value);
    if (elements_of_sample(value) * 3 > kMostElements) return;
    const std::vector<int64_t> padding{below(3), below(2), below(2), below(3)};
    const bool can_reflect = s[2] > 2 && s[3] > 2;
    if (chance(60) || !can_reflect) return apply(value, [=](const Tensor& x) { return pad(x, padding); });
    const PadMode mode = chance(50) ? PadMode::reflect : PadMode::replicate;
    apply(value, [=](const Tensor& x) { return pad(x, padding, mode); });
  }

  // Larger or smaller, by scales or to sizes, between pixels or from corner to corner.
  void add_resize(size_t value) {
    const Shape s = shape_of(value);
    const char* const coordinates[] = {"half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"};
    InterpolateOptions options{.mode = chance(75) ? "linear" : "nearest",
                               .axes = {2, 3},
                               .coordinates = coordinates[below(4)],
                               .antialias = chance(20)};
    const double scales[] = {0.5, 1.5, 2, 3};
    const double height = scales[below(4)], width = chance(70) ? height : scales[below(4)];
    const auto scaled = [](int64_t size, double scale) {
      return static_cast<int64_t>(static_cast<double>(size) * scale);
    };
    const int64_t rows = scaled(s[2], height), columns = scaled(s[3], width);
    if (s[1] * rows * columns > kMostElements || rows < 1 || columns < 1) return;
    if (chance(50))
      options.scales = {height, width};
    else
      options.sizes = {rows, columns};
    apply(value, [=](const Tensor& x) { return interpolate(x, options); });
  }

  // What picks, repeats and joins lines or channels.
  void add_arrangement(size_t value) {
    const Shape s = shape_of(value);
    const bool fits = elements_of_sample(value) * 4 <= kMostElements;
    switch (below(6)) {
      case 0: {
        NDArray index({1 + below(6)}, DType::int64);
        for (int64_t i = 0; i < index.numel(); ++i) index.data<int64_t>()[i] = below(static_cast<uint64_t>(s[1]));
        const Tensor picked = register_buffer("index" + std::to_string(indices_++), index);
        return apply(value, [=](const Tensor& x) { return take(x, picked, 1); });
      }
      case 1:
        if (fits) apply(value, [](const Tensor& x) { return tile(x, {1, 2, 1, 2}); });
        return;
      case 2:
        if (fits) apply(value, [=](const Tensor& x) { return reshape(stack({x, x}, 2), {-1, 2 * s[1], s[2], s[3]}); });
        return;
      case 3:
        return apply(value, [](const Tensor& x) { return chunk(x, 2, 2)[0]; });
      case 4:
        if (s[2] % 2 == 0 && s[3] % 2 == 0) apply(value, [](const Tensor& x) { return pixel_unshuffle(x, 2); });
        return;
      default:
        if (fits) apply(value, [](const Tensor& x) { return pad_same2d(x, 3, {.stride = 2}); });
    }
  }

  void add_channel_shuffle(size_t value) {
    const int64_t c = shape_of(value)[1], h = shape_of(value)[2], w = shape_of(value)[3];
    apply(value, [=](const Tensor& x) {
      return reshape(transpose(reshape(x, {-1, 2, c / 2, h, w}), 1, 2), {-1, c, h, w});
    });
  }

  // Halves, of which one may be worked on, and may come back in the other order.
  void add_split(size_t value) {
    const int64_t c = shape_of(value)[1], at = 1 + below(static_cast<uint64_t>(c - 1));
    Conv2d* conv = chance(60) ? own("branch", std::make_shared<Conv2d>(at, at, 1)) : nullptr;
    const bool turned = chance(40), activated = chance(50);
    apply(value, [=](const Tensor& x) {
      Tensor first = slice(x, 1, 0, at);
      const Tensor second = slice(x, 1, at, c);
      if (conv) first = (*conv)(first);
      if (activated) first = relu(first);
      return turned ? concat({second, first}, 1) : concat({first, second}, 1);
    });
  }

 private:
  int indices_ = 0;

  // As models write it: of minus infinity, of the least float, of a large number, or of small ones.
  Function some_mask(int64_t tokens) {
    const float numbers[] = {-std::numeric_limits<float>::infinity(), std::numeric_limits<float>::lowest(), -1e9f,
                             -10000, -2};
    const float below_zero = numbers[below(std::size(numbers))];
    const Tensor future = triu(Tensor(NDArray::ones({tokens, tokens})), 1);
    const std::string name = "mask" + std::to_string(children().size());
    if (chance(30)) {
      const Tensor condition = register_buffer(name, greater(future, Tensor::scalar(0)).data());
      return [=](const Tensor& scores) { return where(condition, Tensor::scalar(below_zero), scores); };
    }
    const Tensor zero = Tensor::scalar(0), number = Tensor::scalar(below_zero);
    const Tensor mask = register_buffer(name, where(greater(future, zero), number, zero).data());
    return [=](const Tensor& scores) { return scores + mask; };
  }
};

}  // namespace thimble::nn
