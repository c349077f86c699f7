#include <cmath>
#include <functional>
#include <limits>
#include <span>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/core/ops/up_to.h"
#include "tests/core/views.h"
#include <thimble/core/ops/norm.h>
#include <thimble/core/ops/reduce.h>
#include <thimble/core/ops/shape.h>
#include <thimble/core/parallel.h>
#include <thimble/core/platform/isa.h>

namespace thimble {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

// Mean and biased variance of one channel, term by term.
std::pair<double, double> naive_moments(const NDArray& x, int64_t channel) {
  const NDArray one = x.slice(1, channel, channel + 1);
  const auto values = one.to_vector<double>();
  double mean = 0, variance = 0;
  for (double v : values) mean += v / static_cast<double>(values.size());
  for (double v : values) variance += (v - mean) * (v - mean) / static_cast<double>(values.size());
  return {mean, variance};
}

struct NormCase {
  NDArray x, weight, bias, mean, var;
};

// Two to four dimensions, at least two values for each channel.
NormCase random_case(Generator& rng, int64_t channels, int64_t size) {
  const int64_t c = up_to(channels, rng);
  Shape shape{up_to(size, rng) + 1, c};
  for (uint64_t d = rng.below(3); d > 0; --d) shape.push_back(up_to(size, rng));
  NormCase result{randn_view(shape, rng), randn_view({c}, rng), randn_view({c}, rng), randn_view({c}, rng),
                  rand({c}, rng, DType::float64)};
  return result;
}

NDArray naive_batch_norm(const NormCase& c, bool training, bool relu, double eps) {
  NDArray y(c.x.shape(), DType::float64);
  std::vector<std::pair<double, double>> moments;
  for (int64_t i = 0; i < c.x.shape(1); ++i)
    moments.push_back(training ? naive_moments(c.x, i) : std::pair(at(c.mean, {i}), at(c.var, {i})));
  int64_t i = 0;
  for_each_index(c.x.shape(), [&](const Shape& index) {
    const auto [mean, variance] = moments[static_cast<size_t>(index[1])];
    const double z =
        (at(c.x, index) - mean) / std::sqrt(variance + eps) * at(c.weight, {index[1]}) + at(c.bias, {index[1]});
    y.data<double>()[i++] = relu ? std::max(z, 0.0) : z;
  });
  return y;
}

// Restores instruction set and threads.
class BatchNorm : public testing::Test {
 protected:
  ~BatchNorm() override {
    set_isa(isa_);
    set_num_threads(threads_);
  }
  const Isa isa_ = active_isa();
  const int threads_ = num_threads();
};

TEST_F(BatchNorm, IsTheFormulaOnEveryMachine) {
  Generator rng(1);
  for (Isa isa : available_isas()) {
    set_isa(isa);
    for (int i = 0; i < 21; ++i) {
      set_num_threads(1 + i % 3);
      const NormCase c = random_case(rng, 80, i % 10 == 0 ? 30 : 6);
      SCOPED_TRACE(str(c.x.shape()));
      for (bool training : {true, false})
        for (bool relu : {true, false}) {
          const NDArray expected = naive_batch_norm(c, training, relu, 1e-3);
          auto run = [&](DType dtype) {
            return batch_norm(c.x.to(dtype), Tensor(c.weight.to(dtype)), Tensor(c.bias.to(dtype)), c.mean.to(dtype),
                              c.var.to(dtype), {.training = training, .eps = 1e-3, .relu = relu})
                .data();
          };
          expect_close(run(DType::float64), expected, 1e-11);
          expect_close(run(DType::float32), expected, 1e-4);
        }
    }
  }
}

TEST_F(BatchNorm, MovesTheRunningStatisticsInTrainingOnly) {
  Generator rng(2);
  for (int i = 0; i < 20; ++i) {
    const NormCase c = random_case(rng, 20, 5);
    Tensor mean(c.mean), var(c.var);
    batch_norm(c.x, {}, {}, mean, var);
    EXPECT_EQ(mean.data().to_vector<double>(), c.mean.to_vector<double>());
    batch_norm(c.x, {}, {}, mean, var, {.training = true, .momentum = 0.3});
    const double n = static_cast<double>(c.x.numel() / c.x.shape(1));
    for (int64_t k = 0; k < c.x.shape(1); ++k) {
      const auto [m, v] = naive_moments(c.x, k);
      EXPECT_NEAR(at(mean.data(), {k}), 0.7 * at(c.mean, {k}) + 0.3 * m, 1e-12);
      EXPECT_NEAR(at(var.data(), {k}), 0.7 * at(c.var, {k}) + 0.3 * v * n / (n - 1), 1e-12);
    }
  }
}

TEST_F(BatchNorm, GradientsAreRight) {
  Generator rng(3);
  for (int i = 0; i < 12; ++i) {
    const NormCase c = random_case(rng, 3, 3);
    SCOPED_TRACE(str(c.x.shape()));
    for (bool training : {true, false})
      for (bool relu : {true, false}) {
        const BatchNormOptions options{.training = training, .eps = 0.1, .relu = relu};
        check_gradients(
            [&](const std::vector<Tensor>& in) { return batch_norm(in[0], in[1], in[2], c.mean, c.var, options); },
            {c.x, c.weight, c.bias});
        check_gradients(
            [&](const std::vector<Tensor>& in) { return batch_norm(in[0], {}, {}, c.mean, c.var, options); }, {c.x});
      }
  }
}

// The fused gradient over sizes that fill vectors, blocks and pieces, with what the ops it consists of give.
TEST_F(BatchNorm, FusedGradientIsThatOfTheFormulaOnEveryMachine) {
  Generator rng(4);
  for (const Shape& shape : {Shape{64, 16, 9, 9}, Shape{33, 5, 17}, Shape{300, 70}, Shape{7, 33, 11, 13}}) {
    const NDArray x = randn(shape, rng), dy = randn(shape, rng);
    const NDArray weight = randn({shape[1]}, rng), bias = randn({shape[1]}, rng);
    for (bool relu : {true, false}) {
      auto gradients = [&](DType dtype, bool create_graph) {
        const Tensor in[] = {Tensor(x.to(dtype), true), Tensor(weight.to(dtype), true), Tensor(bias.to(dtype), true)};
        const Tensor y = batch_norm(in[0], in[1], in[2], {}, {}, {.training = true, .relu = relu});
        return grad(y, {in[0], in[1], in[2]}, Tensor(dy.to(dtype)), {.create_graph = create_graph});
      };
      const auto expected = gradients(DType::float64, true);
      for (Isa isa : available_isas()) {
        set_isa(isa);
        std::vector<std::vector<float>> first(3);
        for (int threads : {1, 2, 3}) {
          set_num_threads(threads);
          const auto fused = gradients(DType::float64, false), fused32 = gradients(DType::float32, false);
          for (size_t i = 0; i < 3; ++i) {
            SCOPED_TRACE(str(shape, " input ", i, " relu ", relu));
            expect_close(fused[i].data(), expected[i].data(), 1e-10);
            expect_close(fused32[i].data(), expected[i].data(), 2e-3);
            if (threads == 1) first[i] = fused32[i].data().to_vector<float>();
            EXPECT_EQ(fused32[i].data().to_vector<float>(), first[i]) << "depends on the number of threads";
          }
        }
      }
      set_isa(isa_);
    }
  }
}

TEST_F(BatchNorm, LosesNothingWhereTheMeanIsLarge) {
  Generator rng(5);
  for (double offset : {1e3, 1e4}) {
    NDArray x = randn({64, 16, 14, 14}, rng);
    for (int64_t i = 0; i < x.numel(); ++i) x.data<float>()[i] += static_cast<float>(offset);
    x.data<float>()[0] = 0;  // nor where the first value is far from the others
    const Tensor y = batch_norm(x, {}, {}, {}, {}, {.training = true});
    NormCase c{x, NDArray::ones({16}), NDArray::zeros({16}), {}, {}};
    expect_close(y.data(), naive_batch_norm(c, true, false, 1e-5), 2e-3);
  }
}

TEST_F(BatchNorm, ResultsAndGradientsOfChannelsLastImagesAreChannelsLast) {
  Generator rng(6);
  const NDArray image = randn({2, 5, 6, 3}, rng).permute({0, 3, 1, 2});
  Tensor x(image, true);
  const Tensor y = batch_norm(x, {}, {}, {}, {}, {.training = true});
  EXPECT_EQ(y.data().strides(), image.strides());
  EXPECT_EQ(grad(y, {x}, image)[0].data().strides(), image.strides());
}

TEST_F(BatchNorm, NaNComesThroughItsRelu) {
  NDArray x = NDArray::ones({4, 2});
  x.data<float>()[0] = std::nanf("");
  const auto y = batch_norm(x, {}, {}, {}, {}, {.training = true, .relu = true}).data().to_vector<float>();
  EXPECT_TRUE(std::isnan(y[0]) && std::isnan(y[2]));
  EXPECT_EQ(y[1], 0);
}

TEST_F(BatchNorm, IsRebuiltFromNameAndAttributes) {
  Generator rng(7);
  const NormCase c = random_case(rng, 5, 5);
  for (bool training : {true, false}) {
    const Tensor y = batch_norm(Tensor(c.x, true), Tensor(c.weight), Tensor(c.bias), c.mean, c.var,
                                {.training = training, .eps = 0.01});
    const Tensor again = apply(make_op(y.op()->name(), y.op()->attributes()), y.inputs());
    EXPECT_EQ(again.data().to_vector<double>(), y.data().to_vector<double>());
  }
}

TEST_F(BatchNorm, RefusesWhatDoesNotFit) {
  const NDArray x = NDArray::ones({2, 3, 4, 4}), v = NDArray::ones({3});
  auto shape_error = [](const std::string& text) { return ThrowsMessage<ShapeError>(HasSubstr(text)); };
  auto value_error = [](const std::string& text) { return ThrowsMessage<ValueError>(HasSubstr(text)); };
  EXPECT_THAT(
      [&] {
        batch_norm(NDArray::ones({1, 3, 1, 1}), v, v, v, v, {.training = true});
      },
      value_error("batch_norm: expected more than 1 value per channel when training, got input [1,3,1,1]"));
  EXPECT_NO_THROW(batch_norm(NDArray::ones({1, 3, 1, 1}), v, v, v, v));
  EXPECT_THAT([&] { batch_norm(NDArray::ones({0, 3, 4, 4}), v, v, v, v); }, shape_error("the batch is empty"));
  EXPECT_THAT([&] { batch_norm(NDArray::ones({5}), v, v, v, v); }, shape_error("got [5]"));
  EXPECT_THAT([&] { batch_norm(x, NDArray::ones({4}), NDArray::ones({4}), v, v); },
              shape_error("batch_norm: expects [3] for input [2,3,4,4], got [4]"));
  EXPECT_THAT([&] { batch_norm(x, v, {}, v, v); }, shape_error("has a weight but no bias"));
  EXPECT_THAT([&] { batch_norm(x, v, v, {}, {}); }, value_error("no running statistics"));
  EXPECT_THAT([&] { batch_norm(x, v, v, NDArray::ones({2}), NDArray::ones({2}), {.training = true}); },
              shape_error("got [2]"));
  EXPECT_THAT([&] { batch_norm(x, v, v, v, v, {.momentum = 1.5}); }, value_error("momentum 1.5"));
  EXPECT_THAT([&] { batch_norm(x, v, v, v, v, {.eps = 0}); }, value_error("eps 0"));
  EXPECT_THROW(batch_norm(x.to(DType::float64), v, v, v, v), DTypeError);
}

TEST(GroupNorm, IsTheFormula) {
  Generator rng(8);
  for (int i = 0; i < 40; ++i) {
    const int64_t groups = up_to(4, rng), per_group = up_to(4, rng), channels = groups * per_group;
    Shape shape{up_to(3, rng), channels};
    for (uint64_t d = rng.below(3); d > 0; --d) shape.push_back(up_to(5, rng));
    const NDArray x = randn_view(shape, rng), weight = randn({channels}, rng, DType::float64),
                  bias = randn({channels}, rng, DType::float64);
    NDArray expected(shape, DType::float64);
    int64_t e = 0;
    for_each_index(shape, [&](const Shape& index) {
      const int64_t first = index[1] / per_group * per_group;
      // A group of a sample as the one channel of a batch.
      const NDArray group = x.slice(0, index[0], index[0] + 1).slice(1, first, first + per_group);
      const auto [mean, variance] = naive_moments(group.contiguous().reshape({-1, 1}), 0);
      expected.data<double>()[e++] =
          (at(x, index) - mean) / std::sqrt(variance + 1e-5) * at(weight, {index[1]}) + at(bias, {index[1]});
    });
    expect_close(group_norm(x, groups, weight, bias).data(), expected, 1e-10);
  }
  check_gradients([](const std::vector<Tensor>& in) { return group_norm(in[0], 2, in[1], in[2], 0.1); },
                  {randn_view({2, 4, 3, 2}, rng), randn_view({4}, rng), randn_view({4}, rng)});
  const NDArray x = NDArray::ones({2, 6, 4, 4});
  EXPECT_THAT([&] { group_norm(x, 4); }, ThrowsMessage<ShapeError>(HasSubstr("4 groups do not divide 6 channels")));
  EXPECT_THROW(group_norm(x, 2, NDArray::ones({4})), ShapeError);
  EXPECT_THROW(group_norm(x, 0), ValueError);
}

TEST(GroupNorm, IsRebuiltFromNameAndAttributes) {
  Generator rng(9);
  const Tensor x(randn({2, 6, 3}, rng), true);
  for (const Tensor& y : {group_norm(x, 3, {}, {}, 0.1), layer_norm(x, {6, 3}, {}, {}, 0.1)}) {
    const Tensor again = apply(make_op(y.op()->name(), y.op()->attributes()), {x});
    EXPECT_EQ(again.data().to_vector<float>(), y.data().to_vector<float>());
  }
}

TEST(LayerNorm, IsTheFormula) {
  Generator rng(10);
  for (int i = 0; i < 40; ++i) {
    Shape shape, last;
    for (uint64_t d = rng.below(4) + 1; d > 0; --d) shape.push_back(up_to(5, rng));
    const int dims = static_cast<int>(rng.below(static_cast<uint64_t>(shape.ndim()))) + 1;
    for (int d = shape.ndim() - dims; d < shape.ndim(); ++d) last.push_back(shape[d]);
    const NDArray x = randn_view(shape, rng), weight = randn(last, rng, DType::float64),
                  bias = randn(last, rng, DType::float64);
    const NDArray rows = x.contiguous().reshape({-1, last.numel()});
    NDArray expected(rows.shape(), DType::float64);
    for (int64_t r = 0; r < rows.shape(0); ++r) {
      const auto [mean, variance] = naive_moments(rows.slice(0, r, r + 1).reshape({-1, 1}), 0);
      for (int64_t k = 0; k < last.numel(); ++k)
        expected.data<double>()[r * last.numel() + k] =
            (at(rows, {r, k}) - mean) / std::sqrt(variance + 1e-5) * weight.data<double>()[k] + bias.data<double>()[k];
    }
    expect_close(layer_norm(x, last, weight, bias).data(), expected.reshape(shape), 1e-10);
  }
  for (const Shape& last : {Shape{2}, Shape{3, 2}, Shape{1}})
    check_gradients([&](const std::vector<Tensor>& in) { return layer_norm(in[0], last, in[1], in[2], 0.1); },
                    {randn_view({2, 4, 3, last.back()}, rng), randn_view(last, rng), randn_view(last, rng)});
  const NDArray x = NDArray::ones({2, 6});
  EXPECT_THAT([&] { layer_norm(x, {5}); }, ThrowsMessage<ShapeError>(HasSubstr("input [2,6] does not end in [5]")));
  EXPECT_THROW(layer_norm(x, {6}, NDArray::ones({5})), ShapeError);
  EXPECT_THROW(layer_norm(x, {}), ShapeError);
  EXPECT_EQ(layer_norm(NDArray::ones({0, 6}), {6}).shape(), (Shape{0, 6}));
}

// Values whose squares, or sums, leave float32: -1 and 1 in turn after normalization.
class LargeValues : public BatchNorm {
 protected:
  using Normalize = std::function<Tensor(const Tensor& x)>;  // of [n, n] over all of it

  // f's values, and its gradient against that of values near 1, which is `size` times as large.
  void expect_right(const Normalize& f, const std::function<Tensor(const Tensor&)>& layout, double size) {
    Generator rng(12);
    NDArray small = NDArray::full({40}, -1);
    small.slice(0, 0, 40, 2).fill(1);
    const NDArray dy = randn({40}, rng);
    NDArray large = small.clone();
    for (float& v : std::span(large.data<float>(), 40)) v *= static_cast<float>(size);
    for (bool create_graph : {false, true}) {
      const Tensor x(small, true), z(large, true);
      const Tensor y = f(layout(x)), w = f(layout(z));
      const Tensor weights = layout(Tensor(dy)).detach();
      for (int64_t i = 0; i < 40; ++i)
        EXPECT_NEAR(reshape(w, {40}).data().contiguous().data<float>()[i],
                    reshape(y, {40}).data().contiguous().data<float>()[i], 1e-4)
            << size;
      const NDArray expected = grad(y, {x}, weights, {.create_graph = create_graph})[0].data().contiguous();
      const NDArray got = grad(w, {z}, weights, {.create_graph = create_graph})[0].data().contiguous();
      for (int64_t i = 0; i < 40; ++i)
        EXPECT_NEAR(got.data<float>()[i] * size, expected.data<float>()[i], 1e-3) << size << ' ' << create_graph;
    }
  }
};

TEST_F(LargeValues, AreNormalizedAsSmallOnesAre) {
  for (Isa isa : available_isas()) {
    set_isa(isa);
    for (double size : {1e18, 1e20, 1e30, 1e37}) {
      expect_right([](const Tensor& x) { return layer_norm(x, {40}, {}, {}, 1e-30); },
                   [](const Tensor& x) {
                     return reshape(x, {1, 40});
                   },
                   size);
      expect_right([](const Tensor& x) { return group_norm(x, 2, {}, {}, 1e-30); },
                   [](const Tensor& x) {
                     return reshape(x, {1, 4, 10});
                   },
                   size);
      for (const Shape& shape : {Shape{40, 1}, Shape{4, 1, 10}, Shape{20, 2}})
        expect_right([](const Tensor& x) { return batch_norm(x, {}, {}, {}, {}, {.training = true, .eps = 1e-30}); },
                     [&](const Tensor& x) {
                       // Each channel has both signs.
                       return shape[1] == 1 ? reshape(x, shape) : transpose(reshape(x, {2, 20}), 0, 1);
                     },
                     size);
    }
  }
}

TEST_F(LargeValues, ThatAreEqualBecomeZero) {
  for (float value : {1e20f, 1e30f, 3e38f}) {
    const NDArray x = NDArray::full({3, 7}, value);
    for (const Tensor& y : {layer_norm(x, {7}), group_norm(x, 1), batch_norm(x, {}, {}, {}, {}, {.training = true})})
      for (float v : y.data().to_vector<float>()) EXPECT_EQ(v, 0) << value;
  }
}

TEST_F(LargeValues, ThatAreInfiniteGiveNaN) {
  NDArray x = NDArray::ones({1, 4});
  x.slice(1, 0, 1).fill(std::numeric_limits<double>::infinity());
  for (float v : layer_norm(x, {4}).data().to_vector<float>()) EXPECT_TRUE(std::isnan(v));
}

TEST(SmallValues, AreOutweighedByEps) {
  for (const float value : {1e-30f, 1e-37f, 1e-40f, std::numeric_limits<float>::denorm_min()}) {
    const Tensor x(NDArray::from_vector<float>({value, 2 * value, 0, value}, {1, 4}), true);
    for (const Tensor& y : {layer_norm(x, {4}), group_norm(x, 1)}) {
      for (float v : y.data().to_vector<float>()) EXPECT_NEAR(v, 0, 1e-6) << value;
      const NDArray dy = NDArray::from_vector<float>({1, -1, 1, -1}, {1, 4});
      for (float v : grad(y, {x}, Tensor(dy))[0].data().to_vector<float>())
        EXPECT_NEAR(std::abs(v), 1 / std::sqrt(1e-5f), 1e-2) << value;
    }
  }
}

// One row's values must not decide how another is computed.
TEST_F(LargeValues, LeaveOtherRowsAlone) {
  NDArray x = NDArray::from_vector<float>({-1e30f, 1e30f, -1, 1, -1e-3f, 1e-3f}, {3, 2});
  for (bool create_graph : {false, true}) {
    const Tensor t(x, true);
    const Tensor y = layer_norm(t, {2}, {}, {}, 1e-12);
    EXPECT_EQ(y.data().to_vector<float>().size(), 6u);
    for (int64_t i = 0; i < 6; ++i) EXPECT_NEAR(y.data().data<float>()[i], i % 2 ? 1 : -1, 1e-5);
    const NDArray dy = NDArray::from_vector<float>({1, 0, 1, 0, 1, 0}, {3, 2});
    const NDArray dx = grad(y, {t}, Tensor(dy), {.create_graph = create_graph})[0].data();
    for (float v : dx.to_vector<float>()) EXPECT_NEAR(v, 0, 1e-2);  // two values: the output cannot change
  }
}

}  // namespace
}  // namespace thimble
