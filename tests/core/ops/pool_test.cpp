#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/core/ops/up_to.h"
#include "tests/core/views.h"
#include <thimble/core/ops/pool.h>
#include <thimble/core/ops/reduce.h>
#include <thimble/core/parallel.h>
#include <thimble/core/platform/isa.h>

namespace thimble {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct WindowCase {
  Shape image;
  Pair kernel, stride, padding, dilation;
  bool ceil_mode, count_include_pad;

  MaxPool2dOptions max() const { return {stride, padding, dilation, ceil_mode}; }
  AvgPool2dOptions average() const { return {stride, padding, ceil_mode, count_include_pad}; }
};

std::string describe(const WindowCase& c) {
  return str("image ", c.image, " kernel ", c.kernel.height, ',', c.kernel.width, " stride ", c.stride.height, ',',
             c.stride.width, " padding ", c.padding.height, ',', c.padding.width, " dilation ", c.dilation.height, ',',
             c.dilation.width, " ceil ", c.ceil_mode, " count_include_pad ", c.count_include_pad);
}

// Channels up to `channels`, so that every remainder of a vector occurs.
WindowCase random_windows(Generator& rng, int64_t channels, int64_t most_dilation) {
  WindowCase c{{up_to(3, rng), up_to(channels, rng), up_to(7, rng), up_to(7, rng)},
               {up_to(3, rng), up_to(3, rng)},
               {up_to(3, rng), up_to(3, rng)},
               0,
               {up_to(most_dilation, rng), up_to(most_dilation, rng)},
               rng.below(2) == 1,
               rng.below(2) == 1};
  const int64_t reach_h = c.dilation.height * (c.kernel.height - 1) + 1;
  const int64_t reach_w = c.dilation.width * (c.kernel.width - 1) + 1;
  c.padding = {up_to(reach_h / 2 + 1, rng) - 1, up_to(reach_w / 2 + 1, rng) - 1};
  c.image[2] = std::max(c.image[2], reach_h - 2 * c.padding.height);
  c.image[3] = std::max(c.image[3], reach_w - 2 * c.padding.width);
  return c;
}

int64_t out_size(int64_t in, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation, bool ceil_mode) {
  const double windows =
      static_cast<double>(in + 2 * padding - dilation * (kernel - 1) - 1) / static_cast<double>(stride);
  int64_t n = static_cast<int64_t>(ceil_mode ? std::ceil(windows) : std::floor(windows)) + 1;
  if ((n - 1) * stride >= in + padding) --n;
  return n;
}

// Calls visit(element of the window, or null in the padding) for each tap, and gives the output what done() says.
template <typename Visit, typename Done>
NDArray naive_pool(const NDArray& x, const WindowCase& c, Visit&& visit, Done&& done) {
  NDArray out({x.shape(0), x.shape(1),
               out_size(x.shape(2), c.kernel.height, c.stride.height, c.padding.height, c.dilation.height, c.ceil_mode),
               out_size(x.shape(3), c.kernel.width, c.stride.width, c.padding.width, c.dilation.width, c.ceil_mode)},
              DType::float64);
  int64_t i = 0;
  for_each_index(out.shape(), [&](const Shape& o) {
    for_each_index({c.kernel.height, c.kernel.width}, [&](const Shape& k) {
      const int64_t h = o[2] * c.stride.height - c.padding.height + k[0] * c.dilation.height;
      const int64_t w = o[3] * c.stride.width - c.padding.width + k[1] * c.dilation.width;
      const bool inside = h >= 0 && h < x.shape(2) && w >= 0 && w < x.shape(3);
      const bool in_padding = h < x.shape(2) + c.padding.height && w < x.shape(3) + c.padding.width;
      visit(inside ? at(x, {o[0], o[1], h, w}) : 0.0, inside, in_padding);
    });
    out.data<double>()[i++] = done();
  });
  return out;
}

NDArray naive_max(const NDArray& x, const WindowCase& c) {
  double best = -kInfinity;
  return naive_pool(
      x, c,
      [&](double value, bool inside, bool) {
        if (inside) best = std::max(best, value);
      },
      [&] { return std::exchange(best, -kInfinity); });
}

NDArray naive_average(const NDArray& x, const WindowCase& c) {
  double sum = 0, count = 0;
  return naive_pool(
      x, c,
      [&](double value, bool inside, bool in_padding) {
        sum += value;
        count += inside || (in_padding && c.count_include_pad);
      },
      [&] { return std::exchange(sum, 0) / std::exchange(count, 0); });
}

// Restores instruction set and threads.
class Pool : public testing::Test {
 protected:
  ~Pool() override {
    set_isa(isa_);
    set_num_threads(threads_);
  }
  const Isa isa_ = active_isa();
  const int threads_ = num_threads();
};

TEST_F(Pool, AreTheNestedLoopsOnEveryMachine) {
  Generator rng(1);
  for (Isa isa : available_isas()) {
    set_isa(isa);
    for (int i = 0; i < 60; ++i) {
      set_num_threads(1 + i % 3);
      WindowCase c = random_windows(rng, 40, 2);
      SCOPED_TRACE(describe(c));
      const NDArray x = randn_view(c.image, rng);
      for (DType dtype : {DType::float32, DType::float64}) {
        expect_close(max_pool2d(x.to(dtype), c.kernel, c.max()).data(), naive_max(x, c), 1e-6);
        const NoGrad guard;
        expect_close(max_pool2d(x.to(dtype), c.kernel, c.max()).data(), naive_max(x, c), 1e-6);
      }
      c = random_windows(rng, 40, 1);
      SCOPED_TRACE(describe(c));
      const NDArray z = randn_view(c.image, rng);
      expect_close(avg_pool2d(z, c.kernel, c.average()).data(), naive_average(z, c), 1e-13);
      expect_close(avg_pool2d(z.to(DType::float32), c.kernel, c.average()).data(), naive_average(z, c), 1e-6);
    }
  }
}

TEST_F(Pool, GradientsAreRight) {
  Generator rng(2);
  for (int i = 0; i < 60; ++i) {
    WindowCase c = random_windows(rng, 3, 2);
    SCOPED_TRACE(describe(c));
    // With -infinity in the output there is no difference to take.
    if (naive_max(NDArray::zeros(c.image, DType::float64), c).to_vector<double>() ==
            max_pool2d(NDArray::zeros(c.image, DType::float64), c.kernel, c.max()).data().to_vector<double>() &&
        max(max_pool2d(NDArray::zeros(c.image, DType::float64), c.kernel, c.max()) * -1.0).item<double>() == 0)
      check_gradients([&](const std::vector<Tensor>& in) { return max_pool2d(in[0], c.kernel, c.max()); },
                      {randn_view(c.image, rng)});
    c = random_windows(rng, 3, 1);
    SCOPED_TRACE(describe(c));
    check_gradients([&](const std::vector<Tensor>& in) { return avg_pool2d(in[0], c.kernel, c.average()); },
                    {randn_view(c.image, rng)});
  }
}

// The gradient in float32, vectorized, is that in float64 of the scalar code: of max pooling, exactly.
TEST_F(Pool, GradientsAreTheSameOnEveryMachine) {
  Generator rng(3);
  for (int i = 0; i < 60; ++i) {
    const WindowCase c = random_windows(rng, 40, 1);
    SCOPED_TRACE(describe(c));
    const NDArray image = randn(c.image, rng);
    set_isa(Isa::scalar);
    auto gradients = [&](DType dtype) {
      Tensor x(image.to(dtype), true), z(image.to(dtype), true);
      const Tensor y = max_pool2d(x, c.kernel, c.max());
      y.backward(Tensor(NDArray::arange(y.numel(), dtype).reshape(y.shape())));
      const Tensor v = avg_pool2d(z, c.kernel, c.average());
      v.backward(Tensor(NDArray::arange(v.numel(), dtype).reshape(v.shape())));
      return std::pair(x.grad().data(), z.grad().data());
    };
    const auto [max, average] = gradients(DType::float64);
    for (Isa isa : available_isas()) {
      set_isa(isa);
      set_num_threads(1 + i % 3);
      const auto [max32, average32] = gradients(DType::float32);
      expect_close(max32, max, 0);
      expect_close(average32, average, 1e-3);
    }
  }
}

TEST(MaxPool2d, GradientGoesToTheFirstOfSeveralMaxima) {
  for (Isa isa : available_isas()) {
    set_isa(isa);
    for (int64_t channels : {1, 3, 16, 21}) {
      Tensor x(NDArray::ones({1, channels, 4, 4}), true);
      sum(max_pool2d(x, 2)).backward();
      for_each_index(x.shape(), [&](const Shape& i) {
        EXPECT_EQ(at(x.grad().data(), i), i[2] % 2 == 0 && i[3] % 2 == 0 ? 1 : 0);
      });
    }
  }
  set_isa(detected_isa());
}

TEST(MaxPool2d, NaNComesThrough) {
  for (Isa isa : available_isas()) {
    set_isa(isa);
    for (int64_t channels : {1, 17}) {
      for_each_index({2, 2}, [&](const Shape& where) {
        NDArray x = NDArray::ones({1, channels, 2, 2});
        x.slice(2, where[0], where[0] + 1).slice(3, where[1], where[1] + 1).fill(std::nan(""));
        for (float v : max_pool2d(x, 2).data().to_vector<float>()) EXPECT_TRUE(std::isnan(v));
      });
    }
  }
  set_isa(detected_isa());
}

TEST(MaxPool2d, KernelsOfMoreThan256TapsKnowTheirWinners) {
  Generator rng(4);
  const NDArray x = randn({2, 3, 20, 19}, rng, DType::float64);
  gradcheck([](const std::vector<Tensor>& in) { return max_pool2d(in[0], {17, 18}, {.stride = 1}); }, {x});
}

TEST(AdaptiveAvgPool2d, AveragesOverWindowsThatCoverTheImage) {
  Generator rng(5);
  for (int i = 0; i < 60; ++i) {
    const Shape shape{up_to(2, rng), up_to(20, rng), up_to(9, rng), up_to(9, rng)};
    const Pair size(up_to(10, rng), up_to(10, rng));
    SCOPED_TRACE(str(shape, " to ", size.height, "x", size.width));
    const NDArray x = randn_view(shape, rng);
    NDArray expected({shape[0], shape[1], size.height, size.width}, DType::float64);
    int64_t e = 0;
    for_each_index(expected.shape(), [&](const Shape& o) {
      const int64_t h0 = o[2] * shape[2] / size.height, w0 = o[3] * shape[3] / size.width;
      const int64_t h1 = ((o[2] + 1) * shape[2] + size.height - 1) / size.height;
      const int64_t w1 = ((o[3] + 1) * shape[3] + size.width - 1) / size.width;
      double sum = 0;
      for_each_index({h1 - h0, w1 - w0}, [&](const Shape& k) { sum += at(x, {o[0], o[1], h0 + k[0], w0 + k[1]}); });
      expected.data<double>()[e++] = sum / static_cast<double>((h1 - h0) * (w1 - w0));
    });
    expect_close(adaptive_avg_pool2d(x, size).data(), expected, 1e-13);
  }
  for (const Pair& size : {Pair(1), Pair(2, 3), Pair(7, 2)})
    check_gradients([&](const std::vector<Tensor>& in) { return adaptive_avg_pool2d(in[0], size); },
                    {randn_view({2, 3, 5, 4}, rng)});
}

TEST(GlobalAvgPool2d, IsTheMeanOfEachChannel) {
  Generator rng(6);
  const NDArray x = randn_view({3, 5, 4, 6}, rng);
  expect_close(global_avg_pool2d(x).data(), mean(x, {2, 3}, true).data(), 1e-14);
}

TEST_F(Pool, AreRebuiltFromNameAndAttributes) {
  Generator rng(7);
  const NDArray x = randn({2, 3, 9, 9}, rng);
  const MaxPool2dOptions options{.stride = 2, .padding = {1, 0}, .dilation = {1, 2}, .ceil_mode = true};
  for (const Tensor& y : {max_pool2d(Tensor(x, true), {3, 2}, options),
                          avg_pool2d(Tensor(x, true), {3, 2}, {.padding = 1, .count_include_pad = false}),
                          adaptive_avg_pool2d(Tensor(x, true), {4, 2})}) {
    const Tensor again = apply(make_op(y.op()->name(), y.op()->attributes()), {x});
    EXPECT_EQ(again.data().to_vector<float>(), y.data().to_vector<float>());
  }
}

TEST_F(Pool, RefuseWhatDoesNotFit) {
  const NDArray x = NDArray::ones({2, 3, 5, 4});
  auto shape_error = [](const std::string& text) { return ThrowsMessage<ShapeError>(HasSubstr(text)); };
  auto value_error = [](const std::string& text) { return ThrowsMessage<ValueError>(HasSubstr(text)); };
  EXPECT_THAT([&] { max_pool2d(x, 5); }, shape_error("max_pool2d: a kernel of 5 is larger than the padded input, 4"));
  EXPECT_THAT(
      [&] {
        avg_pool2d(x, {6, 1});
      },
      shape_error("avg_pool2d: a kernel of 6 is larger than the padded input, 5"));
  EXPECT_THAT([] { max_pool2d(NDArray::ones({0, 3, 5, 4}), 2); }, shape_error("the batch is empty (input [0,3,5,4])"));
  EXPECT_THAT([] { adaptive_avg_pool2d(NDArray::ones({0, 3, 5, 4}), 2); }, shape_error("the batch is empty"));
  EXPECT_THAT([] { avg_pool2d(NDArray::ones({3, 5, 4}), 2); }, shape_error("got [3,5,4]"));
  EXPECT_THAT([&] { max_pool2d(x, 3, {.padding = 2}); }, value_error("max_pool2d: padding 2 must be 0 to half"));
  EXPECT_THAT([&] { max_pool2d(x, 0); }, value_error("kernel size 0"));
  EXPECT_THAT([&] { max_pool2d(x, 2, {.stride = 0}); }, value_error("stride 0"));
  EXPECT_THAT([&] { max_pool2d(x, 2, {.dilation = 0}); }, value_error("dilation 0"));
  EXPECT_THAT([&] { adaptive_avg_pool2d(x, 0); }, value_error("output size 0x0"));
  EXPECT_THROW(max_pool2d(NDArray::ones({2, 3, 5, 4}, DType::int32), 2), DTypeError);
  EXPECT_THROW(avg_pool2d(NDArray::ones({2, 3, 5, 4}, DType::int32), 2), DTypeError);
  EXPECT_THROW(avg_pool2d(NDArray::ones({2, 3, 5, 4}, DType::uint8), 3, {.padding = 1}), DTypeError);
}

// Integers stand for numbers, and order and mean of both are the same.
TEST(QuantizedPool, IsAsTheFloatOne) {
  Generator rng(9);
  for (int round = 0; round < 100; ++round) {
    auto up_to = [&](uint64_t n) { return static_cast<int64_t>(rng.below(n)) + 1; };
    NDArray x({up_to(3), up_to(20), up_to(6) + 2, up_to(6) + 2}, DType::uint8);
    for (int64_t i = 0; i < x.numel(); ++i) x.data<uint8_t>()[i] = static_cast<uint8_t>(rng.below(256));
    const NDArray floats = x.to(DType::float64);
    const Pair kernel(up_to(3), up_to(3));
    const Pair stride(up_to(3), up_to(3)), padding(kernel.height / 2, kernel.width / 2);
    EXPECT_EQ(max_pool2d(x, kernel, {.stride = stride, .padding = padding}).data().to_vector<double>(),
              max_pool2d(floats, kernel, {.stride = stride, .padding = padding}).data().to_vector<double>());
    auto means = avg_pool2d(floats, kernel, {.stride = stride, .padding = padding, .count_include_pad = false})
                     .data()
                     .to_vector<double>();
    const auto got = avg_pool2d(x, kernel, {.stride = stride, .padding = padding, .count_include_pad = false})
                         .data()
                         .to_vector<double>();
    for (size_t i = 0; i < got.size(); ++i) EXPECT_LE(std::abs(got[i] - means[i]), 0.5 + 1e-4);
    const auto adaptive = adaptive_avg_pool2d(x, 2).data().to_vector<double>();
    means = adaptive_avg_pool2d(floats, 2).data().to_vector<double>();
    for (size_t i = 0; i < adaptive.size(); ++i) EXPECT_LE(std::abs(adaptive[i] - means[i]), 0.5 + 1e-4);
  }
}

}  // namespace
}  // namespace thimble
