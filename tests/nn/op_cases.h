// A case for every op that a model may apply to a batch: what works for any op is tested with these.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "tests/nn/random_input.h"
#include <thimble/core/ops.h>
#include <thimble/nn/module.h>

namespace thimble::nn {

using OpFunction = std::function<Tensor(const Tensor& x)>;

struct OpCase {
  std::string name;
  Shape sample;  // the input without its first dimension
  OpFunction function;
};

// Positive, for logarithms and roots, and not too far from 1.
inline Tensor positive(const Shape& shape, uint64_t seed) {
  return Tensor(add(abs(random(shape, seed)), NDArray::full({}, 0.5)).data());
}

struct OpModel : Module {
  explicit OpModel(OpFunction f) : function(std::move(f)) {}
  Tensor forward(const Tensor& x) override { return function(x); }
  OpFunction function;
};

// Every op's function, and each of those that are made of several ops.
inline std::vector<OpCase> op_cases() {
  const Shape row{6}, image{4, 6, 5}, volume{4, 3, 6, 5};
  const Tensor same = positive({6}, 1), weight = random({4, 6}, 2), kernel = random({4, 2, 3, 3}, 3);
  const Tensor channels = positive({4}, 4), filters = random({4, 2, 3}, 5);
  const Tensor cube = random({4, 2, 2, 3, 3}, 8);
  const Tensor gates = random({1, 8, 2}, 6);
  const Tensor columns = NDArray::from_vector<int64_t>({3, 0, 3});
  return {
      {"add", row, [=](const Tensor& x) { return x + same; }},
      {"sub", row, [=](const Tensor& x) { return same - x; }},
      {"mul", row, [=](const Tensor& x) { return x * same * 2; }},
      {"div", row, [=](const Tensor& x) { return 1 / x / same; }},
      {"pow", row, [=](const Tensor& x) { return pow(x, same) + pow(x, 2); }},
      {"maximum", row, [=](const Tensor& x) { return maximum(x, same); }},
      {"minimum", row, [=](const Tensor& x) { return minimum(x, same); }},
      {"add_relu", row, [=](const Tensor& x) { return add_relu(x, same); }},
      {"cast", row, [](const Tensor& x) { return cast(cast(x, DType::bfloat16), DType::float32); }},
      {"neg", row, [](const Tensor& x) { return -x; }},
      {"abs", row, [](const Tensor& x) { return abs(x); }},
      {"exp", row, [](const Tensor& x) { return exp(x); }},
      {"erf", row, [](const Tensor& x) { return erf(x); }},
      {"log", row, [](const Tensor& x) { return log(x); }},
      {"sqrt", row, [](const Tensor& x) { return sqrt(x); }},
      {"tanh", row, [](const Tensor& x) { return tanh(x); }},
      {"sigmoid", row, [](const Tensor& x) { return sigmoid(x); }},
      {"relu", row, [](const Tensor& x) { return relu(x); }},
      {"relu6", row, [](const Tensor& x) { return relu6(x); }},
      {"leaky_relu", row, [](const Tensor& x) { return leaky_relu(x); }},
      {"gelu", row, [](const Tensor& x) { return gelu(x); }},
      {"silu", row, [](const Tensor& x) { return silu(x); }},
      {"hardsigmoid", row, [](const Tensor& x) { return hardsigmoid(x); }},
      {"hardswish", row, [](const Tensor& x) { return hardswish(x); }},
      {"clamp", row, [](const Tensor& x) { return clamp(x, 0.7, 1.2); }},
      {"where", row, [=](const Tensor& x) { return where(greater(x, same), x, same); }},
      {"greater", row, [=](const Tensor& x) { return where(greater(x, same), x, same); }},
      {"greater_equal", row, [=](const Tensor& x) { return where(greater_equal(x, same), x, same); }},
      {"equal", row, [=](const Tensor& x) { return where(equal(x, x), x, same); }},
      {"matmul", row, [=](const Tensor& x) { return matmul(x, transpose(weight, 0, 1)); }},
      {"linear", row, [=](const Tensor& x) { return linear(x, weight, channels); }},
      {"sum", image,
       [](const Tensor& x) {
         return sum(x, {1, -1});
       }},
      {"mean", image, [](const Tensor& x) { return mean(x, {2}, true); }},
      {"max", image,
       [](const Tensor& x) {
         return max(x, {2, 3});
       }},
      {"min", image, [](const Tensor& x) { return min(x, {1}); }},
      {"var", image,
       [](const Tensor& x) {
         return var(x, {2, 3});
       }},
      {"logsumexp", row, [](const Tensor& x) { return logsumexp(x, {1}, true); }},
      {"softmax", row, [](const Tensor& x) { return softmax(x); }},
      {"log_softmax", image, [](const Tensor& x) { return log_softmax(x, 1); }},
      {"reshape", image,
       [](const Tensor& x) {
         return reshape(x, {-1, 12, 10});
       }},
      {"transpose", image, [](const Tensor& x) { return transpose(x, 1, 2); }},
      {"permute", image,
       [](const Tensor& x) {
         return permute(x, {0, 2, 3, 1});
       }},
      {"slice", image, [](const Tensor& x) { return slice(x, 2, 1, 5, 2); }},
      {"concat", row,
       [=](const Tensor& x) {
         return concat({x, relu(x)}, 1);
       }},
      {"stack", row,
       [=](const Tensor& x) {
         return stack({x, relu(x)}, 1);
       }},
      {"broadcast_to", row,
       [](const Tensor& x) {
         return broadcast_to(unsqueeze(x, 1), {-1, 3, -1});
       }},
      {"squeeze", {1, 6}, [](const Tensor& x) { return squeeze(x, 1); }},
      {"shape", row, [](const Tensor& x) { return x * cast(slice(shape_of(x), 0, 1, 2), DType::float32); }},
      {"unsqueeze", row, [](const Tensor& x) { return unsqueeze(x, -1); }},
      {"flatten", image, [](const Tensor& x) { return flatten(x, 1); }},
      {"pad", image,
       [](const Tensor& x) {
         return pad(x, {1, 2, 0, 1});
       }},
      {"index_select", row, [=](const Tensor& x) { return index_select(x, 1, columns); }},
      {"conv2d", image, [=](const Tensor& x) { return conv2d(x, kernel, channels, {.padding = 1, .groups = 2}); }},
      {"conv1d", {4, 9}, [=](const Tensor& x) { return conv1d(x, filters, channels, {.stride = 2, .groups = 2}); }},
      {"conv_transpose2d", image,
       [=](const Tensor& x) { return conv_transpose2d(x, kernel, random({4}, 9), {.stride = 2, .groups = 2}, 1); }},
      {"conv3d", volume,
       [=](const Tensor& x) {
         return conv3d(x, cube, channels, {.stride = {2, 1, 1}, .padding = 1, .groups = 2});
       }},
      {"conv_transpose3d", volume,
       [=](const Tensor& x) { return conv_transpose3d(x, cube, random({4}, 9), {.stride = 2, .groups = 2}, 1); }},
      {"max_pool3d", volume, [](const Tensor& x) { return max_pool3d(x, 2, {.ceil_mode = true}); }},
      {"avg_pool3d", volume, [](const Tensor& x) { return avg_pool3d(x, 3, {.stride = 1, .padding = 1}); }},
      {"lp_pool3d", volume,
       [](const Tensor& x) {
         return lp_pool3d(x, 2, {1, 2, 2});
       }},
      {"adaptive_avg_pool3d", volume,
       [](const Tensor& x) {
         return adaptive_avg_pool3d(x, {2, 3, 1});
       }},
      {"max_pool3d_indices", volume, [](const Tensor& x) { return max_pool3d_indices(x, 2); }},
      {"pad_same3d", volume, [](const Tensor& x) { return pad_same3d(x, 3, {.stride = 2}); }},
      {"max_pool2d", image, [](const Tensor& x) { return max_pool2d(x, 2, {.ceil_mode = true}); }},
      {"avg_pool2d", image, [](const Tensor& x) { return avg_pool2d(x, 3, {.stride = 1, .padding = 1}); }},
      {"adaptive_avg_pool2d", image,
       [](const Tensor& x) {
         return adaptive_avg_pool2d(x, {2, 3});
       }},
      {"global_avg_pool2d", image, [](const Tensor& x) { return global_avg_pool2d(x); }},
      {"batch_norm", image,
       [=](const Tensor& x) { return batch_norm(x, channels, channels, channels, channels, {.relu = true}); }},
      {"batch_norm_train", image,
       [=](const Tensor& x) { return batch_norm(x, channels, channels, {}, {}, {.training = true}); }},
      {"group_norm", image, [=](const Tensor& x) { return group_norm(x, 2, channels, channels); }},
      {"layer_norm", image,
       [](const Tensor& x) {
         return layer_norm(x, {6, 5});
       }},
      {"upsample_nearest2d", image,
       [](const Tensor& x) {
         return upsample_nearest2d(x, {2, 3});
       }},
      {"interpolate", image,
       [](const Tensor& x) {
         return interpolate(x, {.mode = "linear", .axes = {2, 3}, .scales = {2, 0.5}});
       }},
      {"grid_sample", image,
       [](const Tensor& x) {
         return grid_sample(x, permute(slice(x, 1, 0, 2) - 1, {0, 2, 3, 1}));
       }},
      {"local_response_norm", image, [](const Tensor& x) { return local_response_norm(x, 3); }},
      {"lp_pool2d", image, [](const Tensor& x) { return lp_pool2d(x, 2, 2); }},
      {"max_pool2d_indices", image, [](const Tensor& x) { return max_pool2d_indices(x, 2); }},
      {"max_unpool2d", image,
       [](const Tensor& x) {
         return max_unpool2d(max_pool2d(x, 2), max_pool2d_indices(x, 2), {6, 5});
       }},
      {"pad_same2d", image, [](const Tensor& x) { return pad_same2d(x, 3, {.stride = 2}); }},
      {"lstm", {3, 2}, [=](const Tensor& x) { return transpose(lstm(transpose(x, 0, 1), gates, gates), 0, 2); }},
      {"gru",
       {3, 2},
       [=](const Tensor& x) {
         const Tensor three = slice(gates, 1, 0, 6);
         return transpose(gru(transpose(x, 0, 1), three, three), 0, 2);
       }},
      {"rnn",
       {3, 2},
       [=](const Tensor& x) {
         const Tensor one = slice(gates, 1, 0, 2);
         return transpose(rnn(transpose(x, 0, 1), one, one), 0, 2);
       }},
      {"sin", row, [](const Tensor& x) { return sin(x); }},
      {"cos", row, [](const Tensor& x) { return cos(x); }},
      {"tan", row, [](const Tensor& x) { return tan(0.1 * x); }},
      {"asin", row, [](const Tensor& x) { return asin(0.1 * x); }},
      {"acos", row, [](const Tensor& x) { return acos(0.1 * x); }},
      {"atan", row, [](const Tensor& x) { return atan(x); }},
      {"sinh", row, [](const Tensor& x) { return sinh(x); }},
      {"cosh", row, [](const Tensor& x) { return cosh(x); }},
      {"asinh", row, [](const Tensor& x) { return asinh(x); }},
      {"acosh", row, [](const Tensor& x) { return acosh(1.0 + x); }},
      {"atanh", row, [](const Tensor& x) { return atanh(0.1 * x); }},
      {"log1p", row, [](const Tensor& x) { return log1p(abs(x)); }},
      {"expm1", row, [](const Tensor& x) { return expm1(x); }},
      {"ceil", row, [](const Tensor& x) { return ceil(x); }},
      {"floor", row, [](const Tensor& x) { return floor(x); }},
      {"round", row, [](const Tensor& x) { return round(x); }},
      {"sign", row, [](const Tensor& x) { return sign(x - 1.0); }},
      {"softplus", row, [](const Tensor& x) { return softplus(x); }},
      {"softsign", row, [](const Tensor& x) { return softsign(x); }},
      {"elu", row, [](const Tensor& x) { return elu(x - 1.0); }},
      {"selu", row, [](const Tensor& x) { return selu(x - 1.0); }},
      {"celu", row, [](const Tensor& x) { return celu(x - 1.0, 2); }},
      {"mish", row, [](const Tensor& x) { return mish(x); }},
      {"gelu_tanh", row, [](const Tensor& x) { return gelu_tanh(x); }},
      {"threshold", row, [](const Tensor& x) { return threshold(x, 1, 0.5); }},
      {"shrink", row, [](const Tensor& x) { return softshrink(x, 1); }},
      {"prelu", image, [=](const Tensor& x) { return prelu(x - 1.0, channels); }},
      {"remainder", row, [=](const Tensor& x) { return remainder(8.0 * x, same); }},
      {"fmod", row, [=](const Tensor& x) { return fmod(8.0 * x, same); }},
      {"bitwise_and", row, [=](const Tensor& x) { return bitwise_and(greater(x, same), less(x, same * 1.5)); }},
      {"bitwise_or", row, [=](const Tensor& x) { return bitwise_or(greater(x, same), less(x, same * 0.5)); }},
      {"bitwise_xor", row, [=](const Tensor& x) { return bitwise_xor(greater(x, same), greater(x, same * 1.5)); }},
      {"bitwise_not", row, [](const Tensor& x) { return bitwise_not(cast(8.0 * x, DType::int32)); }},
      {"bitwise_left_shift", row,
       [](const Tensor& x) { return bitwise_left_shift(cast(8.0 * x, DType::int32), cast(x, DType::int32)); }},
      {"bitwise_right_shift", row,
       [](const Tensor& x) { return bitwise_right_shift(cast(8.0 * x, DType::int32), cast(x, DType::int32)); }},
      {"logical_not", row, [](const Tensor& x) { return logical_not(floor(x)); }},
      {"isnan", row, [](const Tensor& x) { return isnan(log(x - 1.0)); }},
      {"isinf", row, [](const Tensor& x) { return isinf(1.0 / floor(x), true, true); }},
      {"type_as", row, [](const Tensor& x) { return type_as(greater(x, x * x), x); }},
      {"rounded_to", row, [](const Tensor& x) { return rounded_to(x, DType::bfloat16); }},
      {"prod", image, [](const Tensor& x) { return prod(x, {2}); }},
      {"argmax", image, [](const Tensor& x) { return argmax(x, 1); }},
      {"argmin", image, [](const Tensor& x) { return argmin(x, -1, true); }},
      {"topk_indices", image, [](const Tensor& x) { return topk(x, 3, 2).first; }},
      {"cumsum", image, [](const Tensor& x) { return cumsum(x, 2); }},
      {"hardmax", image, [](const Tensor& x) { return hardmax(x, 1); }},
      {"take", image,
       [=](const Tensor& x) {
         return take(x, reshape(columns, {3, 1}), 1);
       }},
      {"one_hot", row, [](const Tensor& x) { return one_hot(cast(x, DType::int64), 3); }},
      {"tile", row,
       [](const Tensor& x) {
         return tile(x, {1, 3});
       }},
      {"pixel_shuffle", image, [](const Tensor& x) { return pixel_shuffle(x, 2); }},
      {"pixel_unshuffle", {2, 4, 6}, [](const Tensor& x) { return pixel_unshuffle(x, 2, true); }},
      {"triu", image, [](const Tensor& x) { return triu(x, 1); }},
      {"tril", image, [](const Tensor& x) { return tril(x); }},
      {"diagonal", {3, 3}, [](const Tensor& x) { return diagonal(x, 1, 2); }},
      {"chunk", row, [](const Tensor& x) { return chunk(x, 4, 1)[1]; }},
      {"eye_like", row, [](const Tensor& x) { return eye_like(x, 1, DType::float32); }},
      {"einsum", row,
       [=](const Tensor& x) {
         return einsum("bi,oi->bo", {x, weight});
       }},
      {"mse_loss", row, [](const Tensor& x) { return mse_loss(x, x * 0.5); }},
  };
}

}  // namespace thimble::nn
