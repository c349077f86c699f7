// Convolutions and pools of any geometry, forwards and backwards, against nested loops. Sizes, strides, padding,
// dilations, output padding and groups are drawn at random.
#include <algorithm>
#include <limits>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/core/ops/up_to.h"
#include "tests/core/views.h"
#include <thimble/core/ops/conv.h>
#include <thimble/core/ops/pool.h>
#include <thimble/core/ops/reduce.h>
#include <thimble/core/parallel.h>
#include <thimble/core/platform/isa.h>

namespace thimble {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

struct Geometry {
  Shape wide, weight, narrow;  // a convolution's input, weight and output; for a transposed one the other way round
  Conv2dOptions options;
  Pair output_padding = 0;
};

std::string describe(const Geometry& g) {
  const Conv2dOptions& o = g.options;
  return str("wide ", g.wide, " weight ", g.weight, " narrow ", g.narrow, " stride ", o.stride.height, ',',
             o.stride.width, " padding ", o.padding.top, ',', o.padding.left, ',', o.padding.bottom, ',',
             o.padding.right, " dilation ", o.dilation.height, ',', o.dilation.width, " groups ", o.groups,
             " output_padding ", g.output_padding.height, ',', g.output_padding.width);
}

// One axis: sizes of both sides and of the kernel, and what lies between.
struct Axis {
  int64_t wide, narrow, taps, stride, dilation, before, after, output_padding;

  int64_t reach() const { return dilation * (taps - 1) + 1; }
};

Axis random_axis(Generator& rng) {
  const bool padded = rng.below(2) == 1;
  return {
      0, 0, up_to(4, rng), up_to(5, rng), up_to(5, rng), padded ? up_to(7, rng) - 1 : 0, padded ? up_to(7, rng) - 1 : 0,
      0};
}

Axis convolution_axis(Generator& rng) {
  Axis a = random_axis(rng);
  a.wide = std::max(up_to(9, rng), a.reach() - a.before - a.after);
  a.narrow = (a.wide + a.before + a.after - a.reach()) / a.stride + 1;
  return a;
}

Axis transposed_axis(Generator& rng) {
  for (;;) {
    Axis a = random_axis(rng);
    a.narrow = up_to(6, rng);
    a.output_padding = static_cast<int64_t>(rng.below(static_cast<uint64_t>(std::max(a.stride, a.dilation))));
    a.wide = (a.narrow - 1) * a.stride - a.before - a.after + a.reach() + a.output_padding;
    if (a.wide > 0) return a;
  }
}

Geometry random_geometry(Generator& rng, Axis (*axis)(Generator&)) {
  const Axis h = axis(rng), w = axis(rng);
  const int64_t groups = rng.below(2) == 0 ? 1 : up_to(4, rng);
  const bool depthwise = rng.below(3) == 0;
  const int64_t in = depthwise ? 1 : up_to(3, rng), out = depthwise ? 1 : up_to(3, rng), batch = up_to(3, rng);
  return {{batch, groups * in, h.wide, w.wide},
          {groups * out, in, h.taps, w.taps},
          {batch, groups * out, h.narrow, w.narrow},
          {.stride = {h.stride, w.stride},
           .padding = {h.before, w.before, h.after, w.after},
           .dilation = {h.dilation, w.dilation},
           .groups = groups},
          {h.output_padding, w.output_padding}};
}

int64_t offset(const Shape& shape, int64_t n, int64_t c, int64_t y, int64_t x) {
  return ((n * shape[1] + c) * shape[2] + y) * shape[3] + x;
}

// Adds factor[..] * other[..] to sum[..] for every product that the convolution is made of, where one of the three is
// the wide image, one the weight and one the narrow image.
enum Role { kWide, kWeight, kNarrow };
NDArray sum_of_products(const Geometry& g, Role sum, const NDArray& a, Role role_a, const NDArray& b, Role role_b) {
  const Shape* shapes[] = {&g.wide, &g.weight, &g.narrow};
  NDArray result = NDArray::zeros(*shapes[sum], DType::float64);
  const NDArray dense_a = a.contiguous(), dense_b = b.contiguous();
  const int64_t in = g.weight[1], out = g.weight[0] / g.options.groups;
  for_each_index(g.narrow, [&](const Shape& to) {
    for_each_index({in, g.weight[2], g.weight[3]}, [&](const Shape& tap) {
      const int64_t y = to[2] * g.options.stride.height - g.options.padding.top + tap[1] * g.options.dilation.height;
      const int64_t x = to[3] * g.options.stride.width - g.options.padding.left + tap[2] * g.options.dilation.width;
      if (y < 0 || y >= g.wide[2] || x < 0 || x >= g.wide[3]) return;
      const int64_t at[] = {offset(g.wide, to[0], to[1] / out * in + tap[0], y, x),
                            offset(g.weight, to[1], tap[0], tap[1], tap[2]),
                            offset(g.narrow, to[0], to[1], to[2], to[3])};
      result.data<double>()[at[sum]] += dense_a.data<double>()[at[role_a]] * dense_b.data<double>()[at[role_b]];
    });
  });
  return result;
}

// Values, and the gradients of both operands.
void expect_products(const Geometry& g, const std::function<Tensor(const Tensor&, const Tensor&)>& op, const NDArray& x,
                     Role role_x, const NDArray& weight, Role role_y, Generator& rng) {
  const Tensor image(x, true), w(weight, true);
  const Tensor y = op(image, w);
  expect_close(y.data(), sum_of_products(g, role_y, x, role_x, weight, kWeight), 1e-11);
  const NDArray dy = randn_view(y.shape(), rng);
  const NDArray dx = sum_of_products(g, role_x, dy, role_y, weight, kWeight);
  const NDArray dw = sum_of_products(g, kWeight, dy, role_y, x, role_x);
  for (bool create_graph : {false, true}) {
    const auto grads = grad(y, {image, w}, Tensor(dy), {.retain_graph = true, .create_graph = create_graph});
    expect_close(grads[0].data(), dx, 1e-11);
    expect_close(grads[1].data(), dw, 1e-11);
  }
  const Tensor image32(x.to(DType::float32), true), w32(weight.to(DType::float32), true);
  const Tensor y32 = op(image32, w32);
  expect_close(y32.data(), y.data(), 1e-4);
  const auto grads = grad(y32, {image32, w32}, Tensor(dy.to(DType::float32)));
  expect_close(grads[0].data(), dx, 1e-4);
  expect_close(grads[1].data(), dw, 1e-4);
}

// Draws instruction set and number of threads, and restores them.
class ImageGeometry : public testing::Test {
 protected:
  ~ImageGeometry() override {
    set_isa(isa_);
    set_num_threads(threads_);
  }
  void draw_machine(Generator& rng) {
    const auto isas = available_isas();
    set_isa(isas[rng.below(isas.size())]);
    set_num_threads(static_cast<int>(up_to(3, rng)));
  }

 private:
  const Isa isa_ = active_isa();
  const int threads_ = num_threads();
};

TEST_F(ImageGeometry, AnyConvolutionIsTheNestedLoops) {
  Generator rng(11);
  for (int i = 0; i < 300; ++i) {
    draw_machine(rng);
    const Geometry g = random_geometry(rng, convolution_axis);
    SCOPED_TRACE(describe(g));
    expect_products(
        g, [&](const Tensor& x, const Tensor& w) { return conv2d(x, w, {}, g.options); }, randn_view(g.wide, rng),
        kWide, randn_view(g.weight, rng), kNarrow, rng);
  }
}

TEST_F(ImageGeometry, AnyTransposedConvolutionIsTheNestedLoops) {
  Generator rng(12);
  for (int i = 0; i < 300; ++i) {
    draw_machine(rng);
    const Geometry g = random_geometry(rng, transposed_axis);
    SCOPED_TRACE(describe(g));
    expect_products(
        g, [&](const Tensor& x, const Tensor& w) { return conv_transpose2d(x, w, {}, g.options, g.output_padding); },
        randn_view(g.narrow, rng), kNarrow, randn_view(g.weight, rng), kWide, rng);
  }
}

TEST_F(ImageGeometry, SecondDerivativesOfTransposedConvolutionsAreRight) {
  Generator rng(13);
  for (int i = 0; i < 25; ++i) {
    draw_machine(rng);
    const Geometry g = random_geometry(rng, transposed_axis);
    SCOPED_TRACE(describe(g));
    if (g.narrow.numel() > 60 || g.wide.numel() > 400) continue;  // each element takes two passes
    check_gradients(
        [&](const std::vector<Tensor>& in) { return conv_transpose2d(in[0], in[1], {}, g.options, g.output_padding); },
        {randn_view(g.narrow, rng), randn_view(g.weight, rng)});
  }
}

// Values from PyTorch.
TEST_F(ImageGeometry, OutputPaddingOfTheStrideAndMoreGivesPyTorchsValues) {
  const Conv2dOptions options{.dilation = 2};
  const Tensor x(NDArray::ones({1, 1, 2, 2}), true), w(NDArray::ones({1, 1, 2, 2}), true);
  const Tensor y = conv_transpose2d(x, w, {}, options, 1);
  std::vector<float> expected;
  for (int row = 0; row < 5; ++row)
    for (float v : {1, 1, 1, 1, 0}) expected.push_back(row < 4 ? v : 0);
  EXPECT_EQ(y.data().to_vector<float>(), expected);
  sum(y).backward();
  EXPECT_EQ(x.grad().data().to_vector<float>(), std::vector<float>(4, 4));
  EXPECT_EQ(w.grad().data().to_vector<float>(), std::vector<float>(4, 4));
  const Tensor x4(NDArray::ones({1, 1, 4, 4}), true), w3(NDArray::ones({1, 1, 3, 3}), true);
  sum(conv_transpose2d(x4, w3, {}, options, 1)).backward();
  EXPECT_EQ(x4.grad().data().to_vector<float>(), std::vector<float>(16, 9));
  EXPECT_EQ(w3.grad().data().to_vector<float>(), std::vector<float>(9, 16));
}

struct PoolCase {
  Shape image;
  Pair kernel, stride, padding, dilation;
  bool ceil_mode, count_include_pad;
};

std::string describe(const PoolCase& c) {
  return str("image ", c.image, " kernel ", c.kernel.height, ',', c.kernel.width, " stride ", c.stride.height, ',',
             c.stride.width, " padding ", c.padding.height, ',', c.padding.width, " dilation ", c.dilation.height, ',',
             c.dilation.width, " ceil ", c.ceil_mode, " count_include_pad ", c.count_include_pad);
}

PoolCase random_pool(Generator& rng, int64_t most_dilation) {
  auto pair = [&](int64_t n) { return Pair(up_to(n, rng), up_to(n, rng)); };
  PoolCase c{{up_to(3, rng), up_to(20, rng), up_to(12, rng), up_to(12, rng)},
             pair(6),
             pair(6),
             0,
             pair(most_dilation),
             rng.below(2) == 1,
             rng.below(2) == 1};
  const Pair reach(c.dilation.height * (c.kernel.height - 1) + 1, c.dilation.width * (c.kernel.width - 1) + 1);
  c.padding = {up_to(reach.height / 2 + 1, rng) - 1, up_to(reach.width / 2 + 1, rng) - 1};
  c.image[2] = std::max(c.image[2], reach.height - 2 * c.padding.height);
  c.image[3] = std::max(c.image[3], reach.width - 2 * c.padding.width);
  return c;
}

int64_t windows(int64_t in, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation, bool ceil_mode) {
  const int64_t rest = in + 2 * padding - dilation * (kernel - 1) - 1;
  const int64_t n = (ceil_mode ? (rest + stride - 1) / stride : rest / stride) + 1;
  return (n - 1) * stride >= in + padding ? n - 1 : n;
}

Shape pooled_shape(const PoolCase& c) {
  return {c.image[0], c.image[1],
          windows(c.image[2], c.kernel.height, c.stride.height, c.padding.height, c.dilation.height, c.ceil_mode),
          windows(c.image[3], c.kernel.width, c.stride.width, c.padding.width, c.dilation.width, c.ceil_mode)};
}

// Calls visit(offset in the image) for the pixels of a window that are in it, and gives how many it has with padding.
template <typename Visit>
int64_t for_each_pixel(const PoolCase& c, const Shape& o, Visit&& visit) {
  int64_t count = 0;
  for_each_index({c.kernel.height, c.kernel.width}, [&](const Shape& k) {
    const int64_t y = o[2] * c.stride.height - c.padding.height + k[0] * c.dilation.height;
    const int64_t x = o[3] * c.stride.width - c.padding.width + k[1] * c.dilation.width;
    count += y < c.image[2] + c.padding.height && x < c.image[3] + c.padding.width;
    if (y >= 0 && y < c.image[2] && x >= 0 && x < c.image[3]) visit(offset(c.image, o[0], o[1], y, x));
  });
  return count;
}

// y and dx of a pool whose output is `reduce(window)`: share(window, pixel) of dy goes to each pixel.
void expect_pool(const Tensor& x, const Tensor& y, const NDArray& expected, const NDArray& dx, const NDArray& dy,
                 double tolerance) {
  expect_close(y.data(), expected, tolerance);
  expect_close(grad(y, {x}, Tensor(dy.to(y.dtype())))[0].data(), dx, tolerance);
}

TEST_F(ImageGeometry, AnyMaxPoolIsTheNestedLoops) {
  Generator rng(14);
  for (int i = 0; i < 300; ++i) {
    draw_machine(rng);
    const PoolCase c = random_pool(rng, 4);
    SCOPED_TRACE(describe(c));
    const NDArray x = randn(c.image, rng, DType::float64), dy = randn(pooled_shape(c), rng, DType::float64);
    NDArray y(dy.shape(), DType::float64), dx = NDArray::zeros(x.shape(), DType::float64);
    int64_t out = 0;
    for_each_index(dy.shape(), [&](const Shape& o) {
      int64_t winner = -1;
      for_each_pixel(c, o, [&](int64_t pixel) {
        if (winner < 0 || x.data<double>()[pixel] > x.data<double>()[winner]) winner = pixel;
      });
      y.data<double>()[out] = winner < 0 ? -std::numeric_limits<double>::infinity() : x.data<double>()[winner];
      if (winner >= 0) dx.data<double>()[winner] += dy.data<double>()[out];
      ++out;
    });
    const MaxPool2dOptions options{c.stride, c.padding, c.dilation, c.ceil_mode};
    for (DType dtype : {DType::float64, DType::float32}) {
      const Tensor image(x.to(dtype), true);
      expect_pool(image, max_pool2d(image, c.kernel, options), y, dx, dy, dtype == DType::float64 ? 1e-13 : 1e-5);
    }
    max_pool2d(NDArray::ones(c.image, DType::uint8), c.kernel, options);
  }
}

TEST_F(ImageGeometry, AnyAveragePoolIsTheNestedLoops) {
  Generator rng(15);
  for (int i = 0; i < 300; ++i) {
    draw_machine(rng);
    const PoolCase c = random_pool(rng, 1);
    SCOPED_TRACE(describe(c));
    const NDArray x = randn(c.image, rng, DType::float64), dy = randn(pooled_shape(c), rng, DType::float64);
    NDArray y(dy.shape(), DType::float64), dx = NDArray::zeros(x.shape(), DType::float64);
    int64_t out = 0;
    for_each_index(dy.shape(), [&](const Shape& o) {
      std::vector<int64_t> pixels;
      const int64_t padded = for_each_pixel(c, o, [&](int64_t pixel) { pixels.push_back(pixel); });
      const auto count = static_cast<double>(c.count_include_pad ? padded : std::ssize(pixels));
      double sum = 0;
      for (int64_t pixel : pixels) {
        sum += x.data<double>()[pixel];
        dx.data<double>()[pixel] += dy.data<double>()[out] / count;
      }
      y.data<double>()[out++] = sum / count;
    });
    for (DType dtype : {DType::float64, DType::float32}) {
      const Tensor image(x.to(dtype), true);
      expect_pool(image, avg_pool2d(image, c.kernel, {c.stride, c.padding, c.ceil_mode, c.count_include_pad}), y, dx,
                  dy, dtype == DType::float64 ? 1e-12 : 1e-4);
    }
    avg_pool2d(NDArray::ones(c.image, DType::uint8), c.kernel, {c.stride, c.padding, c.ceil_mode, false});
  }
}

// Attributes come from files: whatever they hold ends in a value or an error.
TEST_F(ImageGeometry, AttributesOfAnyNumbersGiveValuesOrErrors) {
  Generator rng(16);
  const int64_t small[] = {-1, 0, 1, 2, 3},
                large[] = {int64_t{1} << 31, (int64_t{1} << 62) + 1, std::numeric_limits<int64_t>::max(),
                           std::numeric_limits<int64_t>::min()};
  auto number = [&] { return rng.below(8) == 0 ? large[rng.below(4)] : small[1 + rng.below(4)]; };
  auto list = [&](int n) {
    std::vector<int64_t> numbers;
    for (int i = 0; i < n; ++i) numbers.push_back(rng.below(16) == 0 ? small[0] : number());
    return numbers;
  };
  const NDArray x = randn({1, 4, 5, 6}, rng), w = randn({4, 2, 3, 2}, rng), y = randn({1, 4, 3, 4}, rng);
  int values = 0, errors = 0;
  for (int i = 0; i < 4000; ++i) {
    Attributes a{{"stride", list(2)}, {"dilation", list(2)}, {"groups", number()}};
    a.set("kernel_size", list(2));
    a.set("output_padding", list(2));
    a.set("output_size", list(2));
    a.set("scale_factor", list(2));
    a.set("ceil_mode", rng.below(2) == 0);
    a.set("count_include_pad", rng.below(2) == 0);
    for (const char* op : {"conv2d", "conv_transpose2d", "conv2d_weight", "max_pool2d", "avg_pool2d",
                           "adaptive_avg_pool2d", "upsample_nearest2d"}) {
      const std::string_view name(op);
      a.set("padding", list(name.starts_with("conv") ? 4 : 2));
      try {
        std::vector<Tensor> in{x};
        if (name == "conv2d" || name == "conv_transpose2d") in.emplace_back(w);
        if (name == "conv2d_weight") in.emplace_back(y);
        const Tensor out = apply(make_op(op, a), in);
        EXPECT_GE(out.data().to_vector<float>().size(), 1u);
        ++values;
      } catch (const Error& e) {
        ++errors;
      }
    }
  }
  EXPECT_GT(values, 1000);
  EXPECT_GT(errors, 1000);
}

// Sizes of views that take no memory, as files can ask for.
TEST_F(ImageGeometry, SizesBeyondAllMemoryAreErrors) {
  const NDArray one = NDArray::ones({1, 1, 1, 1});
  const NDArray wide = one.broadcast_to({1, 1, 1, int64_t{1} << 60}), x = NDArray::ones({1, 1, 4, 4});
  auto too_large = [](const std::string& text) { return ThrowsMessage<ShapeError>(HasSubstr(text)); };
  EXPECT_THAT([&] { conv2d(wide, one); }, too_large("has a dimension beyond 2^31 - 1"));
  EXPECT_THAT([&] { conv2d(x, wide, {}, {.dilation = 1 << 30}); }, too_large("has a dimension beyond 2^31 - 1"));
  EXPECT_THAT([&] { conv_transpose2d(wide, one, {}, {.stride = 1 << 30}); }, too_large("beyond 2^31 - 1"));
  EXPECT_THAT([&] { conv_transpose2d(x, wide, {}, {.dilation = 1 << 30}); }, too_large("beyond 2^31 - 1"));
}

}  // namespace
}  // namespace thimble
