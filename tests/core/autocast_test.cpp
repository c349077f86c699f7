#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/core/ops/up_to.h"
#include <thimble/core/autocast.h>
#include <thimble/core/memory.h>
#include <thimble/core/ops.h>
#include <thimble/core/parallel.h>
#include <thimble/core/platform/isa.h>

namespace thimble {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

Tensor random_half(const Shape& shape, Generator& rng) { return randn(shape, rng).to(DType::bfloat16); }

TEST(Autocast, ScopesNestAndBelongToTheirThread) {
  EXPECT_EQ(autocast_dtype(), DType::float32);
  {
    const Autocast outer(DType::bfloat16);
    EXPECT_EQ(autocast_dtype(), DType::bfloat16);
    {
      const Autocast inner(DType::float32);
      EXPECT_EQ(autocast_dtype(), DType::float32);
    }
    EXPECT_EQ(autocast_dtype(), DType::bfloat16);
    std::thread([] { EXPECT_EQ(autocast_dtype(), DType::float32); }).join();
  }
  EXPECT_EQ(autocast_dtype(), DType::float32);
  EXPECT_THAT([] { Autocast wrong(DType::float16); },
              ThrowsMessage<ValueError>(HasSubstr("autocast: expects bfloat16")));
}

TEST(Autocast, ProductsAreBfloat16AndWhatNeedsDigitsIsFloat32) {
  Generator rng(1);
  const Tensor x = randn({4, 3, 8, 8}, rng), kernel(randn({6, 3, 3, 3}, rng), true), flat = randn({4, 6}, rng);
  const Tensor weight(randn({5, 6}, rng), true), ones = NDArray::ones({6}), zeros = NDArray::zeros({6});
  const Autocast guard(DType::bfloat16);
  const Tensor y = conv2d(x, kernel), features = linear(flat, weight);
  for (const Tensor& same :
       {y, features, matmul(flat, transpose(weight, 0, 1)), matmul(flat, randn({6, 2}, rng)), relu(y), y + y,
        add_relu(y, y), y * y, clamp(y, 0, 6), gelu(y), max_pool2d(y, 2), avg_pool2d(y, 2), adaptive_avg_pool2d(y, 1),
        batch_norm(y, ones, zeros, zeros, ones, {}), dropout(y, 0.5, true, rng), flatten(y, 1),
        permute(y, {0, 2, 3, 1}), concat({y, y}, 1), slice(y, 1, 0, 3)})
    EXPECT_EQ(same.dtype(), DType::bfloat16);
  const Tensor labels = NDArray::zeros({4}, DType::int64);
  for (const Tensor& wide :
       {softmax(features), log_softmax(features), cross_entropy(features, labels), exp(y), sum(y), mean(y),
        layer_norm(features, {5}), features / features, maximum(y, y), y + Tensor::scalar(1.0)})
    EXPECT_EQ(wide.dtype(), DType::float32);
  EXPECT_EQ(conv2d(x.data().to(DType::float64), kernel.data().to(DType::float64)).dtype(), DType::float64);
}

TEST(Autocast, OutsideOfAScopeErrorsAreClear) {
  Generator rng(1);
  const Tensor y = random_half({4, 6}, rng);
  EXPECT_THAT([&] { sum(y); }, ThrowsMessage<DTypeError>(HasSubstr("sum: expects float32 or float64, got bfloat16")));
  EXPECT_THAT([&] { exp(y); }, ThrowsMessage<DTypeError>(HasSubstr("exp: expects float32")));
  EXPECT_THAT([&] { add(y, randn({6}, rng)); }, ThrowsMessage<DTypeError>("add: dtypes bfloat16 and float32 differ"));
  EXPECT_THAT(
      [&] {
        linear(y, NDArray::ones({2, 6}, DType::float64));
      },
      ThrowsMessage<DTypeError>(HasSubstr("linear: expects operands of bfloat16")));
  EXPECT_THAT([&] { Tensor(y.data(), true); }, ThrowsMessage<DTypeError>(HasSubstr("bfloat16 is not differentiable")));
}

double norm_of(const NDArray& x) {
  double sum = 0;
  for (const double v : x.to_vector<double>()) sum += v * v;
  return std::sqrt(sum);
}

double relative_difference(const NDArray& a, const NDArray& b) {
  EXPECT_EQ(a.shape(), b.shape());
  return norm_of(sub(a.to(DType::float64), b.to(DType::float64)).data()) / (norm_of(b) + 1e-12);
}

struct LayerCase {
  const char* name;
  std::vector<Shape> inputs;
  std::function<Tensor(const std::vector<Tensor>&)> function;
};

const std::vector<LayerCase>& layer_cases() {
  static const std::vector<LayerCase> cases = {
      {"linear", {{37, 40}, {23, 40}, {23}}, [](const auto& t) { return linear(t[0], t[1], t[2]); }},
      {"linear of vectors", {{40}, {23, 40}}, [](const auto& t) { return linear(t[0], t[1]); }},
      {"matmul", {{9, 30}, {30, 11}}, [](const auto& t) { return matmul(t[0], t[1]); }},
      {"matmul of batches", {{3, 9, 30}, {3, 30, 11}}, [](const auto& t) { return matmul(t[0], t[1]); }},
      {"matmul, broadcast", {{2, 3, 9, 30}, {3, 30, 11}}, [](const auto& t) { return matmul(t[0], t[1]); }},
      {"matmul, one matrix", {{2, 3, 9, 30}, {30, 11}}, [](const auto& t) { return matmul(t[0], t[1]); }},
      {"matmul of activations",
       {{3, 9, 30}, {3, 9, 30}},
       [](const auto& t) { return matmul(t[0] * 1.0, transpose(t[1] * 1.0, 1, 2)); }},
      {"conv2d",
       {{3, 5, 9, 8}, {7, 5, 3, 3}, {7}},
       [](const auto& t) { return conv2d(t[0], t[1], t[2], {.padding = 1}); }},
      {"conv2d, strided",
       {{3, 6, 9, 8}, {8, 3, 3, 3}},
       [](const auto& t) { return conv2d(t[0], t[1], {}, {.stride = 2, .padding = 1, .groups = 2}); }},
      {"conv2d, dilated",
       {{2, 5, 9, 8}, {7, 5, 3, 2}},
       [](const auto& t) { return conv2d(t[0], t[1], {}, {.dilation = 2}); }},
      {"conv2d, padded by more than its kernel",
       {{2, 32, 8, 7}, {32, 32, 3, 3}},
       [](const auto& t) { return conv2d(t[0], t[1], {}, {.padding = 3}); }},
      {"conv2d of pixels", {{3, 16, 5, 5}, {40, 16, 1, 1}}, [](const auto& t) { return conv2d(t[0], t[1]); }},
      {"depthwise conv2d",
       {{3, 6, 9, 8}, {6, 1, 3, 3}},
       [](const auto& t) { return conv2d(t[0], t[1], {}, {.padding = 1, .groups = 6}); }},
      {"conv1d", {{3, 5, 20}, {7, 5, 3}}, [](const auto& t) { return conv1d(t[0], t[1], {}, {.padding = 1}); }},
      {"conv_transpose2d",
       {{3, 5, 6, 7}, {5, 4, 3, 3}},
       [](const auto& t) { return conv_transpose2d(t[0], t[1], {}, {.stride = 2, .padding = 1}); }},
      {"conv_transpose2d, padded, with a bias",
       {{2, 32, 9, 8}, {32, 4, 3, 3}, {4}},
       [](const auto& t) { return conv_transpose2d(t[0], t[1], t[2], {.padding = 3}); }},
      {"batch_norm",
       {{6, 5, 4, 3}, {5}, {5}, {5, 5, 1, 1}},
       [](const auto& t) { return batch_norm(conv2d(t[0], t[3]), t[1], t[2], {}, {}, {.training = true}); }},
      {"batch_norm with relu",
       {{6, 5, 4, 3}, {5}, {5}, {5, 5, 1, 1}},
       [](const auto& t) {
         return batch_norm(conv2d(t[0], t[3]), t[1], t[2], {}, {}, {.training = true, .relu = true});
       }},
      {"batch_norm in evaluation mode",
       {{6, 5, 4, 3}, {5}, {5}, {5, 5, 1, 1}},
       [](const auto& t) {
         return batch_norm(conv2d(t[0], t[3]), t[1], t[2], NDArray::zeros({5}), NDArray::ones({5}), {});
       }},
      {"max_pool2d", {{3, 4, 8, 6}, {4, 4, 1, 1}}, [](const auto& t) { return max_pool2d(conv2d(t[0], t[1]), 2); }},
      {"avg_pool2d", {{3, 4, 8, 6}, {4, 4, 1, 1}}, [](const auto& t) { return avg_pool2d(conv2d(t[0], t[1]), 2); }},
      {"a residual",
       {{3, 4, 8, 6}, {4, 4, 1, 1}},
       [](const auto& t) {
         const Tensor y = conv2d(t[0], t[1]);
         return add_relu(relu(y), y);
       }},
      {"moved elements",
       {{3, 4, 8, 6}, {4, 4, 1, 1}},
       [](const auto& t) {
         const Tensor y = conv2d(t[0], t[1]);
         const Tensor rows = permute(y, {0, 2, 3, 1});
         return flatten(pad(concat({slice(rows, 1, 0, 4), rows}, 1), {1, 0}), 1);
       }},
      {"a broadcast product",
       {{3, 4, 8, 6}, {4, 4, 1, 1}},
       [](const auto& t) {
         const Tensor y = conv2d(t[0], t[1]);
         return y * slice(y, 0, 1, 2);
       }},
      {"smooth activations",
       {{30, 20}, {10, 20}},
       [](const auto& t) {
         const Tensor y = linear(t[0], t[1]);
         return gelu(y) + silu(y) * sigmoid(y) + tanh(y) + leaky_relu(y);
       }},
      {"smooth activations of one number, repeated",
       {{30, 20}, {1, 20}},
       [](const auto& t) {
         const Tensor y = broadcast_to(linear(t[0], t[1]), {30, 70});
         return tanh(y) - leaky_relu(-y);
       }},
      {"softmax and layer_norm",
       {{30, 20}, {10, 20}},
       [](const auto& t) { return softmax(layer_norm(linear(t[0], t[1]), {10})); }},
  };
  return cases;
}

struct LayerResult {
  NDArray value;
  std::vector<NDArray> grads;
};

LayerResult run_layer(const LayerCase& layer, DType precision, bool backward_inside = false) {
  Generator rng(7);
  std::vector<Tensor> inputs;
  for (const Shape& shape : layer.inputs)  // that bfloat16 holds: else relu and maxima would decide otherwise
    inputs.emplace_back(randn(shape, rng).to(DType::bfloat16).to(DType::float32), true);
  Tensor y, loss;
  {
    const Autocast guard(precision);
    y = layer.function(inputs);
    const Tensor wide = cast(y, DType::float32);
    loss = sum(wide * Tensor(randn(wide.shape(), rng)));
    if (backward_inside) loss.backward();
  }
  if (!backward_inside) loss.backward();
  LayerResult result{y.data(), {}};
  for (const Tensor& x : inputs) result.grads.push_back(x.grad().data());
  return result;
}

TEST(Autocast, GradientsAreThoseOfFloat32RoundedToBfloat16) {
  for (const LayerCase& layer : layer_cases()) {
    SCOPED_TRACE(layer.name);
    const LayerResult mixed = run_layer(layer, DType::bfloat16), exact = run_layer(layer, DType::float32);
    EXPECT_LT(relative_difference(mixed.value, exact.value), 0.01);
    EXPECT_GT(relative_difference(mixed.value, exact.value), 0) << "computed in float32";
    for (size_t i = 0; i < exact.grads.size(); ++i) {
      EXPECT_EQ(mixed.grads[i].dtype(), DType::float32);
      EXPECT_LT(relative_difference(mixed.grads[i], exact.grads[i]), 0.02) << "input " << i;
    }
  }
}

TEST(Autocast, BackwardGivesTheSameBitsInsideOfTheScope) {
  for (const LayerCase& layer : layer_cases()) {
    const LayerResult inside = run_layer(layer, DType::bfloat16, true),
                      outside = run_layer(layer, DType::bfloat16, false);
    for (size_t i = 0; i < inside.grads.size(); ++i)
      EXPECT_EQ(inside.grads[i].to_vector<float>(), outside.grads[i].to_vector<float>())
          << layer.name << ", input " << i;
  }
}

TEST(Autocast, BitsDoNotDependOnThreads) {
  const int before = num_threads();
  for (const LayerCase& layer : layer_cases()) {
    set_num_threads(1);
    const LayerResult one = run_layer(layer, DType::bfloat16);
    for (const int threads : {2, 5}) {
      set_num_threads(threads);
      const LayerResult several = run_layer(layer, DType::bfloat16);
      EXPECT_EQ(one.value.to_vector<float>(), several.value.to_vector<float>()) << layer.name;
      for (size_t i = 0; i < one.grads.size(); ++i)
        EXPECT_EQ(one.grads[i].to_vector<float>(), several.grads[i].to_vector<float>())
            << layer.name << ", input " << i;
    }
  }
  set_num_threads(before);
}

// Images of bfloat16 whose sums are exact: every order gives the same.
TEST(Autocast, ConvolutionsOfRandomGeometriesAreExactForSmallIntegers) {
  Generator rng(11);
  const auto integers = [&](const Shape& shape) {
    NDArray x(shape);
    for (int64_t i = 0; i < x.numel(); ++i) x.data<float>()[i] = static_cast<float>(rng.below(5)) - 2;
    return x;
  };
  for (int i = 0; i < 60; ++i) {
    const int64_t groups = up_to(3, rng), in = groups * up_to(40, rng), out = groups * up_to(40, rng);
    const Pair kernel(up_to(3, rng), up_to(3, rng)), stride(up_to(2, rng), up_to(2, rng)), dilation(up_to(2, rng));
    const Conv2dOptions options{.stride = stride, .padding = up_to(5, rng) - 1, .dilation = dilation, .groups = groups};
    const Shape image{up_to(4, rng), in, 5 + up_to(6, rng), 5 + up_to(6, rng)};
    const Shape weight{out, in / groups, kernel.height, kernel.width};
    const auto run = [&](DType precision) {
      Generator seed(static_cast<uint64_t>(i));
      rng = seed;
      const Tensor x(integers(image), true), w(integers(weight), true);
      const Autocast guard(precision);
      const Tensor y = conv2d(x, w, {}, options), wide = cast(y, DType::float32);
      sum(wide * Tensor(integers(wide.shape()))).backward();
      return std::vector<NDArray>{y.data().to(DType::float32), x.grad().data(), w.grad().data()};
    };
    const Generator after = rng;
    const std::vector<NDArray> mixed = run(DType::bfloat16), exact = run(DType::float32);
    rng = after;
    // Beyond 256 bfloat16 has no odd numbers; sums stay below that here, or are rounded.
    for (size_t k = 0; k < 3; ++k) {
      const NDArray expected = k == 2 ? exact[k] : exact[k].to(DType::bfloat16).to(DType::float32);
      EXPECT_EQ(mixed[k].to_vector<float>(), expected.to_vector<float>())
          << image << " by " << weight << ", stride " << stride.height << 'x' << stride.width << ", dilation "
          << dilation.height << ", groups " << groups << ", result " << k;
    }
  }
}

TEST(Autocast, AGraphKeepsActivationsInBfloat16) {
  Generator rng(3);
  const Tensor x = randn({8, 16, 16, 16}, rng), kernel(randn({16, 16, 3, 3}, rng), true);
  const Tensor ones(NDArray::ones({16}), true), zeros(NDArray::zeros({16}), true);
  const auto kept = [&](DType precision) {
    const Autocast guard(precision);
    const size_t before = allocated_bytes();
    Tensor y = conv2d(x, kernel, {}, {.padding = 1});
    for (int i = 0; i < 6; ++i)
      y = relu(batch_norm(conv2d(y, kernel, {}, {.padding = 1}), ones, zeros, {}, {}, {.training = true}) + y);
    return allocated_bytes() - before;
  };
  EXPECT_LT(static_cast<double>(kept(DType::bfloat16)), 0.6 * static_cast<double>(kept(DType::float32)));
}

TEST(Autocast, DropoutScalesWhatItKeepsAsInFloat32) {
  Generator rng(5);
  const Tensor x(NDArray::ones({1000}), true);
  const Autocast guard(DType::bfloat16);
  const Tensor y = dropout(cast(x, DType::bfloat16), 0.1, true, rng);
  sum(y).backward();
  const auto values = y.data().to_vector<float>(), grads = x.grad().data().to_vector<float>();
  const float kept = static_cast<float>(bfloat16(1 / 0.9f));
  for (size_t i = 0; i < values.size(); ++i) {
    EXPECT_TRUE(values[i] == 0 || values[i] == kept) << values[i];
    EXPECT_EQ(grads[i], values[i]);
  }
}

TEST(Cast, IsDifferentiableAndKeepsTheOrderInMemory) {
  const Tensor x(NDArray::from_vector<float>({1, 2, 3.14159f}), true);
  const Tensor y = cast(x, DType::bfloat16);
  EXPECT_EQ(y.dtype(), DType::bfloat16);
  EXPECT_EQ(cast(y, DType::bfloat16).id(), y.id());
  sum(cast(y, DType::float32)).backward();
  EXPECT_EQ(x.grad().data().to_vector<float>(), (std::vector<float>{1, 1, 1}));
  const NDArray image = NDArray::ones({2, 4, 4, 3}).permute({0, 3, 1, 2});
  EXPECT_EQ(cast(image, DType::bfloat16).data().strides(), image.strides());
  EXPECT_THROW(make_op("cast", Attributes{{"dtype", std::string("float31")}}), FormatError);
}

}  // namespace
}  // namespace thimble
