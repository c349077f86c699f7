#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/core/views.h"
#include <thimble/core/ndarray.h>
#include <thimble/core/random.h>

namespace thimble {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

/// [0, 1, ...] in `shape`.
NDArray counted(const Shape& shape, DType dtype = DType::float64) {
  return NDArray::arange(shape.numel(), dtype).reshape(shape);
}

Shape random_shape(Generator& generator, int most_dims = 4) {
  Shape shape;
  const int ndim = static_cast<int>(generator.below(static_cast<uint64_t>(most_dims) + 1));
  for (int d = 0; d < ndim; ++d) shape.push_back(static_cast<int64_t>(generator.below(5)));
  return shape;
}

/// A view of random strides: some dimensions permuted, sliced, reversed.
NDArray random_view(const Shape& shape, Generator& generator) {
  NDArray x = counted(shape);
  for (int d = 0; d < x.ndim(); ++d) {
    if (generator.below(3) == 0) x = x.transpose(d, static_cast<int>(generator.below(static_cast<uint64_t>(x.ndim()))));
    if (generator.below(4) == 0) x = x.slice(d, -1, -x.shape(d) - 1, -1);
    if (generator.below(4) == 0) x = x.slice(d, 0, x.shape(d), 2);
  }
  return x;
}

TEST(NDArrays, AreAlignedAndContiguous) {
  for (DType dtype : kAllDTypes) {
    const NDArray x({3, 5}, dtype);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(x.raw()) % 64, 0u);
    EXPECT_TRUE(x.is_contiguous());
    EXPECT_EQ(x.strides(), (Shape{5, 1}));
    EXPECT_EQ(x.nbytes(), static_cast<int64_t>(15 * itemsize(dtype)));
    EXPECT_EQ(x.dtype(), dtype);
  }
}

TEST(NDArrays, UndefinedUntilGivenAValue) {
  NDArray x;
  EXPECT_FALSE(x.defined());
  EXPECT_EQ(str(x), "undefined");
  x = NDArray::zeros({});
  EXPECT_TRUE(x.defined());
}

TEST(NDArrays, FactoriesFillEveryDtype) {
  for (DType dtype : kAllDTypes) {
    EXPECT_EQ(NDArray::zeros({2, 2}, dtype).to_vector<int64_t>(), (std::vector<int64_t>{0, 0, 0, 0}));
    EXPECT_EQ(NDArray::ones({3}, dtype).to_vector<double>(), (std::vector<double>{1, 1, 1}));
    const bool is_bool = dtype == DType::bool_;
    EXPECT_EQ(NDArray::full({}, 7, dtype).item<int32_t>(), is_bool ? 1 : 7);
    EXPECT_EQ(NDArray::arange(4, dtype).to_vector<double>(),
              is_bool ? (std::vector<double>{0, 1, 1, 1}) : (std::vector<double>{0, 1, 2, 3}));
    EXPECT_EQ(NDArray::zeros({0, 3}, dtype).numel(), 0);
  }
  EXPECT_EQ(NDArray::from_vector<int8_t>({1, -2, 3, 4}, {2, 2}).to_vector<int8_t>(),
            (std::vector<int8_t>{1, -2, 3, 4}));
  EXPECT_EQ(NDArray::from_vector<float>({}).shape(), Shape{0});
}

TEST(NDArrays, RefuseSizesThatCannotBe) {
  constexpr int64_t huge = int64_t{1} << 40;
  EXPECT_THAT([] { NDArray({2, -1}); }, ThrowsMessage<ShapeError>("array: shape [2,-1] has a negative size"));
  EXPECT_THAT([&] { NDArray({huge, huge}); }, ThrowsMessage<ShapeError>(HasSubstr("is too large")));
  EXPECT_THROW(NDArray({0, huge, huge}), ShapeError);
  EXPECT_THROW(NDArray({huge, huge, 0}), ShapeError);
  EXPECT_THROW(Shape({1, 1, 1, 1, 1, 1, 1, 1, 1}), ShapeError);
  EXPECT_THAT(
      [] {
        NDArray::from_vector<float>({1, 2}, {3});
      },
      ThrowsMessage<ShapeError>("from_vector: 2 values do not fill shape [3]"));
}

TEST(NDArrays, GiveTheirElementsOnlyAsTheyAre) {
  NDArray x({2}, DType::float32);
  EXPECT_THAT([&] { x.data<double>(); },
              ThrowsMessage<DTypeError>("array: asked for its float64 elements, it has float32"));
  EXPECT_THROW(std::as_const(x).data<int32_t>(), DTypeError);
}

TEST(NDArrays, CopiesOfTheHandleShareMemoryClonesDoNot) {
  NDArray x = NDArray::zeros({2});
  NDArray same = x, clone = x.clone();
  same.fill(3);
  EXPECT_EQ(x.to_vector<float>(), (std::vector<float>{3, 3}));
  EXPECT_EQ(clone.to_vector<float>(), (std::vector<float>{0, 0}));
  EXPECT_TRUE(x.shares_memory_with(same));
  EXPECT_FALSE(x.shares_memory_with(clone));
}

TEST(NDArrays, BorrowedMemoryKeepsItsOwnerAlive) {
  auto owner = std::make_shared<std::vector<float>>(std::vector<float>{1, 2, 3, 4});
  const std::weak_ptr<std::vector<float>> watch = owner;
  NDArray view;
  {
    float* data = owner->data();
    NDArray x = NDArray::borrow(data, {2, 2}, DType::float32, std::move(owner));
    EXPECT_EQ(x.raw(), data);
    view = x.transpose(0, 1);
  }
  EXPECT_FALSE(watch.expired());
  EXPECT_EQ(view.to_vector<float>(), (std::vector<float>{1, 3, 2, 4}));
  view = NDArray();
  EXPECT_TRUE(watch.expired());
}

TEST(NDArrayViews, ReshapeKeepsRowMajorOrderOfAnyView) {
  Generator generator(1);
  int views = 0;
  for (int round = 0; round < 2000; ++round) {
    const NDArray x = random_view(random_shape(generator), generator);
    // A random factorization of the same number of elements.
    Shape target;
    int64_t left = x.numel();
    for (int64_t f : {2, 3, 2, 2, 3})
      if (left > 0 && left % f == 0 && generator.below(2)) target.push_back(f), left /= f;
    target.insert(static_cast<int>(generator.below(static_cast<uint64_t>(target.ndim()) + 1)), left);
    if (generator.below(2)) target.insert(0, 1);
    const NDArray y = x.reshape(target);
    ASSERT_EQ(y.shape(), target);
    ASSERT_EQ(y.to_vector<double>(), x.to_vector<double>()) << x.shape() << x.strides() << " as " << target;
    views += y.shares_memory_with(x) && !x.is_contiguous() && x.numel() > 0;
  }
  EXPECT_GT(views, 0);
}

TEST(NDArrayViews, ReshapeSharesMemoryWhereStridesAllow) {
  const NDArray x = counted({4, 6});
  EXPECT_TRUE(x.reshape({2, 12}).shares_memory_with(x));
  EXPECT_TRUE(x.slice(1, 0, 6, 2).reshape({2, 2, 3}).shares_memory_with(x));
  EXPECT_TRUE(x.transpose(0, 1).reshape({2, 3, 4}).shares_memory_with(x));
  EXPECT_FALSE(x.transpose(0, 1).reshape({24}).shares_memory_with(x));
}

TEST(NDArrayViews, ReshapeInfersOneSize) {
  const NDArray x = counted({2, 6});
  EXPECT_EQ(x.reshape({-1}).shape(), Shape{12});
  EXPECT_EQ(x.reshape({3, -1}).shape(), (Shape{3, 4}));
  EXPECT_EQ(x.reshape({-1, 12, 1}).shape(), (Shape{1, 12, 1}));
  EXPECT_EQ(NDArray::zeros({0, 3}).reshape({3, -1}).shape(), (Shape{3, 0}));
  EXPECT_EQ(NDArray::zeros({}).reshape({1, 1}).shape(), (Shape{1, 1}));
  EXPECT_EQ(NDArray::zeros({1, 1}).reshape({}).shape(), Shape{});
  EXPECT_THAT([&] { x.reshape({5, -1}); }, ThrowsMessage<ShapeError>("reshape: [2,6] cannot be reshaped to [5,-1]"));
  EXPECT_THROW(x.reshape({-1, -1}), ShapeError);
  EXPECT_THROW(x.reshape({3, 5}), ShapeError);
  EXPECT_THROW(x.reshape({-2, 6}), ShapeError);
  EXPECT_THROW(NDArray::zeros({0}).reshape({0, -1}), ShapeError);
}

TEST(NDArrayViews, TransposeAndPermuteMoveTheIndices) {
  const NDArray x = counted({2, 3, 4});
  const NDArray t = x.transpose(0, -1), p = x.permute({2, 0, 1});
  EXPECT_EQ(t.shape(), (Shape{4, 3, 2}));
  EXPECT_EQ(p.shape(), (Shape{4, 2, 3}));
  for_each_index(x.shape(), [&](const Shape& i) {
    Shape in_t = i, in_p = i;
    std::swap(in_t[0], in_t[2]);
    std::rotate(in_p.begin(), in_p.end() - 1, in_p.end());
    EXPECT_EQ(at(t, in_t), at(x, i));
    EXPECT_EQ(at(p, in_p), at(x, i));
  });
  EXPECT_TRUE(t.shares_memory_with(x));
  EXPECT_EQ(NDArray::zeros({}).permute({}).shape(), Shape{});
  EXPECT_THROW(x.transpose(0, 3), ShapeError);
  EXPECT_THROW(x.permute({0, 1}), ShapeError);
  EXPECT_THROW(x.permute({0, 1, 1}), ShapeError);
}

/// Indices that Python's range(*slice(start, stop, step).indices(size)) gives.
std::vector<double> python_slice(int64_t size, int64_t start, int64_t stop, int64_t step) {
  auto place = [&](int64_t i) {
    if (i < 0) i = std::max<int64_t>(i + size, step < 0 ? -1 : 0);
    return std::min(i, step < 0 ? size - 1 : size);
  };
  std::vector<double> indices;
  for (int64_t i = place(start), end = place(stop); step > 0 ? i < end : i > end; i += step)
    indices.push_back(static_cast<double>(i));
  return indices;
}

TEST(NDArrayViews, SliceSelectsAsPythonDoes) {
  for (int64_t size : {0, 1, 2, 5}) {
    const NDArray x = NDArray::arange(size, DType::float64);
    for (int64_t start = -7; start <= 7; ++start)
      for (int64_t stop = -7; stop <= 7; ++stop)
        for (int64_t step : {-9, -3, -2, -1, 1, 2, 3, 9})
          EXPECT_EQ(x.slice(0, start, stop, step).to_vector<double>(), python_slice(size, start, stop, step))
              << size << ": " << start << ':' << stop << ':' << step;
  }
}

TEST(NDArrayViews, SliceTakesBoundsAndStepsOfAnySize) {
  constexpr int64_t most = std::numeric_limits<int64_t>::max(), least = std::numeric_limits<int64_t>::min();
  const NDArray x = NDArray::arange(5);
  using Values = std::vector<float>;
  EXPECT_EQ(x.slice(0, least, most).to_vector<float>(), (Values{0, 1, 2, 3, 4}));
  EXPECT_EQ(x.slice(0, 1, most, most).to_vector<float>(), (Values{1}));
  EXPECT_EQ(x.slice(0, most, least, -2).to_vector<float>(), (Values{4, 2, 0}));
  EXPECT_EQ(x.slice(0, most, least, least).to_vector<float>(), (Values{4}));
  EXPECT_THAT([&] { x.slice(0, 0, 5, 0); }, ThrowsMessage<ValueError>("slice: step is 0"));
  EXPECT_THROW(x.slice(1, 0, 5), ShapeError);
}

TEST(NDArrayViews, WritingThroughAViewChangesTheArray) {
  NDArray x = NDArray::zeros({2, 3});
  x.slice(1, 1, 2).fill(5);
  x.transpose(0, 1).slice(0, 2, 3).copy_from(NDArray::from_vector<int32_t>({7, 8}, {1, 2}));
  EXPECT_EQ(x.to_vector<float>(), (std::vector<float>{0, 5, 7, 0, 5, 8}));
}

TEST(NDArrayViews, BroadcastRepeatsWithoutMemory) {
  const NDArray x = counted({3, 1});
  const NDArray y = x.broadcast_to({2, 3, 4});
  EXPECT_EQ(y.strides(), (Shape{0, 1, 0}));
  EXPECT_TRUE(y.shares_memory_with(x));
  EXPECT_FALSE(y.is_contiguous());
  for_each_index(y.shape(), [&](const Shape& i) { EXPECT_EQ(at(y, i), static_cast<double>(i[1])); });
  EXPECT_EQ(y.contiguous().to_vector<double>(), y.to_vector<double>());
  EXPECT_EQ(NDArray::ones({1}).broadcast_to({0}).numel(), 0);
  EXPECT_THAT([&] { x.broadcast_to({3}); },
              ThrowsMessage<ShapeError>("broadcast_to: [3,1] cannot be broadcast to [3]"));
  EXPECT_THROW(x.broadcast_to({4, 4}), ShapeError);
  EXPECT_THROW(x.broadcast_to({3, -1}), ShapeError);
}

TEST(NDArrayViews, SqueezeAndUnsqueezeAreInverse) {
  const NDArray x = counted({2, 3}).transpose(0, 1);
  for (int axis : {0, 1, 2, -1, -3}) {
    const NDArray y = x.unsqueeze(axis);
    EXPECT_EQ(y.shape(axis), 1);
    EXPECT_EQ(y.squeeze(axis).shape(), x.shape());
    EXPECT_EQ(y.squeeze(axis).to_vector<double>(), x.to_vector<double>());
  }
  EXPECT_THROW(x.squeeze(0), ShapeError);
  EXPECT_THROW(x.unsqueeze(3), ShapeError);
}

TEST(NDArrayViews, ContiguousCopiesOnlyWhatIsNot) {
  Generator generator(2);
  for (int round = 0; round < 300; ++round) {
    const NDArray x = random_view(random_shape(generator), generator);
    const NDArray dense = x.contiguous();
    EXPECT_TRUE(dense.is_contiguous());
    EXPECT_EQ(dense.shares_memory_with(x), x.is_contiguous());
    // Whether it is contiguous, by definition: the offset of each element is its place in row-major order.
    bool in_order = true;
    int64_t place = 0;
    for_each_index(x.shape(), [&](const Shape& i) {
      int64_t offset = 0;
      for (int d = 0; d < x.ndim(); ++d) offset += i[d] * x.strides()[d];
      in_order = in_order && offset == place++;
    });
    EXPECT_EQ(x.is_contiguous(), in_order) << x.shape() << x.strides();
    for_each_index(x.shape(), [&](const Shape& i) { EXPECT_EQ(at(dense, i), at(x, i)); });
  }
}

TEST(NDArrayConversions, EveryPairKeepsSmallIntegers) {
  for (DType from : kAllDTypes)
    for (DType to : kAllDTypes) {
      const NDArray x = NDArray::arange(120, from).to(to);
      EXPECT_EQ(x.dtype(), to);
      std::vector<int64_t> expected = NDArray::arange(120, DType::int64).to_vector<int64_t>();
      if (from == DType::bool_ || to == DType::bool_)
        for (int64_t& value : expected) value = value != 0;
      EXPECT_EQ(x.to_vector<int64_t>(), expected) << from << to;
    }
}

// Each value of a type of 16 bits is one of float32, from and to which each type is converted directly.
TEST(NDArrayConversions, OfSixteenBitFloatsAreThoseOfTheirFloats) {
  const NDArray patterns = NDArray::arange(65536, DType::uint16);
  const auto bytes_of = [](const NDArray& array) {
    return std::string(static_cast<const char*>(array.raw()), static_cast<size_t>(array.nbytes()));
  };
  for (DType from : {DType::float16, DType::bfloat16}) {
    const NDArray x = NDArray::borrow(const_cast<void*>(patterns.raw()), {65536}, from, nullptr);
    for (DType to : kAllDTypes) {
      if (to == from) continue;
      EXPECT_EQ(bytes_of(x.to(to)), bytes_of(x.to(DType::float32).to(to))) << from << to;
    }
  }
}

TEST(NDArrayConversions, OfLongRowsAndOfStridesAreThoseOfTheirElements) {
  constexpr int64_t kRows = 700;
  for (DType from : kAllDTypes)
    for (DType to : kAllDTypes) {
      const NDArray x = NDArray::arange(2 * kRows, DType::int64).to(from).reshape({kRows, 2});
      for (const NDArray& view :
           {x.reshape({2 * kRows}), x.slice(1, 1, 2), x.transpose(0, 1), x.slice(0, 1, 2).broadcast_to({kRows, 2}),
            x.slice(1, 1, 2).broadcast_to({kRows, 3})}) {
        const NDArray converted = view.to(to), flat = view.contiguous().reshape({view.numel()});
        const std::vector<int64_t> values = converted.to_vector<int64_t>();
        for (int64_t i = 0; i < view.numel(); i += 37)
          ASSERT_EQ(values[static_cast<size_t>(i)], flat.slice(0, i, i + 1).to(to).to_vector<int64_t>()[0])
              << from << to << i;
      }
    }
}

TEST(NDArrayConversions, ToTheSameDtypeIsTheArrayItself) {
  const NDArray x = NDArray::ones({2});
  EXPECT_TRUE(x.to(DType::float32).shares_memory_with(x));
  EXPECT_FALSE(x.to(DType::float64).shares_memory_with(x));
}

TEST(NDArrayConversions, FloatsToIntegersTruncateSaturateAndTakeNaNAsZero) {
  constexpr double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  const NDArray x = NDArray::from_vector<double>({1.9, -1.9, 300, -300, inf, -inf, nan, 127.5, 1e300});
  EXPECT_EQ(x.to_vector<int8_t>(), (std::vector<int8_t>{1, -1, 127, -128, 127, -128, 0, 127, 127}));
  EXPECT_EQ(x.to_vector<uint8_t>(), (std::vector<uint8_t>{1, 0, 255, 0, 255, 0, 0, 127, 255}));
  constexpr int32_t high = std::numeric_limits<int32_t>::max(), low = std::numeric_limits<int32_t>::min();
  EXPECT_EQ(x.to_vector<int32_t>(), (std::vector<int32_t>{1, -1, 300, -300, high, low, 0, 127, high}));
  EXPECT_EQ(x.to(DType::float32).to_vector<int64_t>()[4], std::numeric_limits<int64_t>::max());
  EXPECT_EQ(x.to(DType::bfloat16).to_vector<int64_t>()[5], std::numeric_limits<int64_t>::min());
  EXPECT_EQ(NDArray::full({}, 2147483647.0, DType::float64).item<int32_t>(), high);
  const NDArray y = NDArray::from_vector<double>({-0.9, 65535.9, 65536, -1, inf, -inf, nan, 1e300});
  EXPECT_EQ(y.to_vector<uint16_t>(), (std::vector<uint16_t>{0, 65535, 65535, 0, 65535, 0, 0, 65535}));
  EXPECT_EQ(y.to_vector<int16_t>(), (std::vector<int16_t>{0, 32767, 32767, -1, 32767, -32768, 0, 32767}));
  constexpr uint32_t most32 = std::numeric_limits<uint32_t>::max();
  EXPECT_EQ(y.to_vector<uint32_t>(), (std::vector<uint32_t>{0, 65535, 65536, 0, most32, 0, 0, most32}));
  constexpr uint64_t most64 = std::numeric_limits<uint64_t>::max();
  EXPECT_EQ(y.to_vector<uint64_t>(), (std::vector<uint64_t>{0, 65535, 65536, 0, most64, 0, 0, most64}));
  EXPECT_EQ(y.to(DType::float16).to_vector<uint16_t>(),
            (std::vector<uint16_t>{0, 65535, 65535, 0, 65535, 0, 0, 65535}));  // 65535.9 and 65536 are infinite there
}

TEST(NDArrayConversions, IntegersWrapAround) {
  const NDArray x =
      NDArray::from_vector<int64_t>({-1, 65536 + 7, int64_t{1} << 40, std::numeric_limits<int64_t>::min()});
  EXPECT_EQ(x.to_vector<uint16_t>(), (std::vector<uint16_t>{65535, 7, 0, 0}));
  EXPECT_EQ(x.to_vector<int16_t>(), (std::vector<int16_t>{-1, 7, 0, 0}));
  EXPECT_EQ(x.to_vector<uint32_t>(), (std::vector<uint32_t>{4294967295u, 65543, 0, 0}));
  EXPECT_EQ(x.to(DType::uint64).to_vector<int64_t>(), x.to_vector<int64_t>());
  EXPECT_EQ(NDArray::from_vector<uint64_t>({std::numeric_limits<uint64_t>::max()}).item<int8_t>(), -1);
}

TEST(NDArrayConversions, BoolIsWhetherItIsNotZero) {
  const NDArray x = NDArray::from_vector<double>({0, -0.0, 0.25, -3, std::nan(""), 1e-300});
  const std::vector<bool> expected{false, false, true, true, true, true};
  EXPECT_EQ(x.to_vector<bool>(), expected);
  EXPECT_EQ(x.to(DType::bool_).to_vector<float>(), (std::vector<float>{0, 0, 1, 1, 1, 1}));
  EXPECT_EQ(NDArray::from_vector<int32_t>({256, 0}).to_vector<bool>(), (std::vector<bool>{true, false}));
  EXPECT_EQ(NDArray::from_vector<bool>(expected).to_vector<bool>(), expected);
  EXPECT_TRUE(NDArray::full({}, 0.5, DType::float16).item<bool>());
}

// The nearest 16-bit float by search through all of them.
template <typename Half>
Half nearest(long double value) {
  Half best;
  long double distance = std::numeric_limits<long double>::infinity();
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    Half half;
    half.bits = static_cast<uint16_t>(bits);
    const auto candidate = static_cast<long double>(static_cast<float>(half));
    if (!std::isfinite(candidate) || std::signbit(candidate) != std::signbit(value)) continue;
    const long double d = std::abs(candidate - value);
    if (d < distance || (d == distance && bits % 2 == 0)) {
      distance = d;
      best = half;
    }
  }
  return best;
}

// Numbers just beside the middle between two 16-bit floats, which a float32 or a double takes for the middle.
TEST(NDArrayConversions, ToSixteenBitFloatsRoundOnce) {
  const double doubles[] = {1 + 0x1p-11 + 0x1p-40, 1 + 0x1p-11 - 0x1p-40, -1 - 0x1p-8 - 0x1p-50, 1 + 0x1p-8,
                            0x1p-25 + 0x1p-60,     0x1p-14 - 0x1p-26,     3.14159265358979,      -65519.999999999};
  for (const double value : doubles) {
    const NDArray x = NDArray::full({}, value, DType::float64);
    EXPECT_EQ(x.item<float16>().bits, nearest<float16>(value).bits) << value;
    EXPECT_EQ(x.item<bfloat16>().bits, nearest<bfloat16>(value).bits) << value;
  }
  for (const int64_t value : {(int64_t{1} << 62) + (int64_t{1} << 54) + 1, (int64_t{1} << 62) + (int64_t{1} << 54),
                              -(int64_t{1} << 62) - (int64_t{1} << 54) - 1, (int64_t{1} << 24) + (int64_t{1} << 16) + 1,
                              int64_t{2049}, int64_t{-2051}, std::numeric_limits<int64_t>::min()}) {
    const NDArray x = NDArray::from_vector<int64_t>({value});
    const auto exact = static_cast<long double>(value);
    EXPECT_EQ(x.item<bfloat16>().bits, nearest<bfloat16>(exact).bits) << value;
    if (std::abs(exact) >= 65520) continue;  // infinity, which has no nearest number
    EXPECT_EQ(x.item<float16>().bits, nearest<float16>(exact).bits) << value;
  }
  EXPECT_EQ(NDArray::from_vector<uint64_t>({~uint64_t{0}}).item<bfloat16>(), bfloat16(0x1p64));
  EXPECT_EQ(NDArray::from_vector<int32_t>({65520}).item<float>(), 65520);
  EXPECT_TRUE(std::isinf(NDArray::from_vector<int32_t>({65520}).to(DType::float16).item<float>()));
}

// Bytes only, so that NaNs keep their payloads.
TEST(NDArrayConversions, CopiesOfTheSameDtypeKeepEveryBit) {
  for (DType dtype : kAllDTypes) {
    NDArray x({4, 6}, dtype);
    for (int64_t i = 0; i < x.nbytes(); ++i)
      static_cast<uint8_t*>(x.raw())[i] = static_cast<uint8_t>(dtype == DType::bool_ ? i % 3 == 0 : 255 - i);
    NDArray back({6, 4}, dtype);
    back.copy_from(x.transpose(0, 1));
    back = back.transpose(0, 1).clone();
    EXPECT_EQ(std::memcmp(back.raw(), x.raw(), static_cast<size_t>(x.nbytes())), 0) << dtype;
  }
}

TEST(NDArrayConversions, CopyFromBroadcastsAndConverts) {
  NDArray x({2, 3}, DType::int32);
  x.copy_from(NDArray::from_vector<double>({1.5, 2.5, 3.5}));
  EXPECT_EQ(x.to_vector<int32_t>(), (std::vector<int32_t>{1, 2, 3, 1, 2, 3}));
  EXPECT_THROW(x.copy_from(NDArray::ones({2})), ShapeError);
}

TEST(NDArrayConversions, ItemIsForOneElementOnly) {
  EXPECT_EQ(NDArray::full({1, 1}, 2.5).item<double>(), 2.5);
  EXPECT_EQ(NDArray::arange(5).slice(0, 3, 4).item<int32_t>(), 3);
  EXPECT_THAT([] { NDArray::ones({2}).item<float>(); },
              ThrowsMessage<ShapeError>("item: the array has 2 elements, not one"));
  EXPECT_THROW(NDArray::ones({0}).item<float>(), ShapeError);
}

TEST(NDArrayPrinting, LooksLikeNumPy) {
  EXPECT_EQ(str(NDArray::from_vector<float>({1, 2.5f, -3, 4}, {2, 2})), "[[1, 2.5], [-3, 4]]");
  EXPECT_EQ(str(NDArray::full({}, 7, DType::int8)), "7");
  EXPECT_EQ(str(NDArray::full({1}, 200, DType::uint8)), "[200]");
  EXPECT_EQ(str(NDArray::from_vector<bool>({true, false})), "[True, False]");
  EXPECT_EQ(str(NDArray::from_vector<uint64_t>({18446744073709551615u})), "[18446744073709551615]");
  EXPECT_EQ(str(NDArray::full({2}, -2.5, DType::float16)), "[-2.5, -2.5]");
  EXPECT_EQ(str(NDArray::full({1}, 65535, DType::uint16)), "[65535]");
  EXPECT_EQ(str(NDArray::zeros({0})), "[]");
  EXPECT_EQ(str(NDArray::zeros({2, 0})), "[[], []]");
  EXPECT_EQ(str(NDArray::from_vector<int64_t>({1, 2, 3, 4}, {2, 2}).transpose(0, 1)), "[[1, 3], [2, 4]]");
  EXPECT_EQ(str(NDArray::arange(2000, DType::int32)), "[0, 1, 2, ..., 1997, 1998, 1999]");
  EXPECT_EQ(describe(NDArray::zeros({2, 3}, DType::uint8)), "uint8[2,3]");
}

TEST(Shapes, BroadcastAsNumPy) {
  EXPECT_EQ(broadcast_shapes({}, {}, "op"), Shape{});
  EXPECT_EQ(broadcast_shapes({2, 1, 4}, {3, 1}, "op"), (Shape{2, 3, 4}));
  EXPECT_EQ(broadcast_shapes({0}, {1}, "op"), Shape{0});
  EXPECT_EQ(broadcast_shapes({5, 1}, {0}, "op"), (Shape{5, 0}));
  EXPECT_THAT([] { broadcast_shapes({2}, {3}, "op"); },
              ThrowsMessage<ShapeError>("op: shapes [2] and [3] cannot be broadcast together"));
  EXPECT_THROW(broadcast_shapes({0}, {2}, "op"), ShapeError);
}

TEST(Shapes, AxesAreNormalizedAndChecked) {
  EXPECT_EQ(normalize_axis(-1, 3, "op"), 2);
  EXPECT_THAT([] { normalize_axis(3, 3, "op"); },
              ThrowsMessage<ShapeError>("op: axis 3 is out of range for 3 dimensions"));
  EXPECT_EQ(normalize_axes({-1, 0}, 3, "op"), (Shape{0, 2}));
  EXPECT_EQ(normalize_axes({}, 3, "op"), (Shape{0, 1, 2}));
  EXPECT_THROW(normalize_axes({1, -2}, 3, "op"), ShapeError);
}

TEST(Shapes, InsertAndEraseMoveTheRest) {
  Shape shape{2, 3};
  shape.insert(1, 7);
  EXPECT_EQ(shape, (Shape{2, 7, 3}));
  shape.insert(3, 8);
  EXPECT_EQ(shape, (Shape{2, 7, 3, 8}));
  shape.erase(0);
  EXPECT_EQ(shape, (Shape{7, 3, 8}));
  EXPECT_EQ(str(shape), "[7,3,8]");
}

TEST(NDArrays, CopiesBetweenOverlappingViews) {
  NDArray a = NDArray::arange(6, DType::float32);
  a.slice(0, 0, 6).copy_from(a.slice(0, 5, -7, -1));
  EXPECT_EQ(a.to_vector<float>(), (std::vector<float>{5, 4, 3, 2, 1, 0}));
  NDArray square = NDArray::arange(9, DType::float32).reshape({3, 3});
  square.copy_from(square.transpose(0, 1));
  EXPECT_EQ(square.to_vector<float>(), (std::vector<float>{0, 3, 6, 1, 4, 7, 2, 5, 8}));
}

TEST(NDArrays, ABroadcastViewCannotBeWrittenTo) {
  NDArray view = NDArray::zeros({1}).broadcast_to({3});
  EXPECT_THROW(view.copy_from(NDArray::ones({3})), ValueError);
  EXPECT_THROW(view.fill(1), ValueError);
}

TEST(NDArrays, AskForDimensionsThatAreThere) {
  const NDArray a({2, 3});
  EXPECT_EQ(a.shape(-1), 3);
  EXPECT_THROW(a.shape(2), ShapeError);
  EXPECT_THROW(a.shape(-3), ShapeError);
}

TEST(NDArray, EmptyLikeKeepsTheOrderOfDimensionsInMemory) {
  const NDArray image = counted({2, 3, 4, 5});
  const NDArray channels_last = counted({2, 4, 5, 3}).permute({0, 3, 1, 2});
  EXPECT_TRUE(image.is_dense());
  EXPECT_TRUE(channels_last.is_dense());
  EXPECT_EQ(NDArray::empty_like(image, DType::float32).strides(), image.strides());
  EXPECT_EQ(NDArray::empty_like(channels_last, DType::uint8).strides(), channels_last.strides());
  for (const NDArray& gaps : {channels_last.slice(1, 0, 2), image.slice(3, 4, -6, -1), image.slice(2, 0, 4, 2),
                              counted({3, 1}).broadcast_to({3, 4})}) {
    EXPECT_FALSE(gaps.is_dense());
    EXPECT_TRUE(NDArray::empty_like(gaps, DType::float64).is_contiguous());
  }
}

TEST(NDArray, CopiesBetweenAnyTwoLayouts) {
  const NDArray image = counted({2, 3, 4, 5});
  for (const Shape& to : {Shape{0, 1, 2, 3}, Shape{0, 3, 1, 2}, Shape{3, 2, 1, 0}, Shape{2, 0, 3, 1}}) {
    NDArray target = NDArray::zeros(image.permute(to).shape(), DType::float32);
    Shape back = to;
    for (int d = 0; d < 4; ++d) back[static_cast<int>(to[d])] = d;
    NDArray view = target.permute(back);
    view.copy_from(image);
    EXPECT_EQ(view.to_vector<double>(), image.to_vector<double>());
    EXPECT_TRUE(view.contiguous().is_contiguous());
    EXPECT_TRUE(view.clone().is_contiguous());
  }
  NDArray reversed = NDArray::zeros({2, 3, 4, 5});
  reversed.slice(1, 2, -4, -1).slice(3, 4, -6, -1).copy_from(image);
  EXPECT_EQ(reversed.slice(1, 2, -4, -1).slice(3, 4, -6, -1).to_vector<double>(), image.to_vector<double>());
}

// Copies between channels-first and channels-last take another way than others.
TEST(NDArray, TransposingCopiesOfAllSizes) {
  for (const DType dtype : {DType::float32, DType::float64, DType::int32, DType::uint8})
    for (const int64_t channels : {1, 2, 3, 4, 5, 7, 8, 63, 66})
      for (const int64_t pixels : {1, 2, 3, 4, 5, 11, 64, 67, 130}) {
        const NDArray first = counted({2, channels, pixels}).to(dtype);
        const NDArray last = first.permute({0, 2, 1}).contiguous();
        ASSERT_TRUE(last.is_contiguous());
        const auto from = first.to_vector<double>(), to = last.to_vector<double>();
        for (int64_t n = 0; n < 2; ++n)
          for (int64_t p = 0; p < pixels; ++p)
            for (int64_t c = 0; c < channels; ++c)
              ASSERT_EQ(to[static_cast<size_t>((n * pixels + p) * channels + c)],
                        from[static_cast<size_t>((n * channels + c) * pixels + p)])
                  << dtype << ' ' << channels << " channels, " << pixels << " pixels";
        ASSERT_EQ(last.permute({0, 2, 1}).contiguous().to_vector<double>(), from);
        // A part, whose rows are further apart than they are long.
        const NDArray part = last.slice(2, 0, channels - 1);
        ASSERT_EQ(part.permute({0, 2, 1}).contiguous().to_vector<double>(),
                  first.slice(1, 0, channels - 1).contiguous().to_vector<double>());
      }
}

// Beside a size of 0 any sizes have the same number of elements, but not any have strides.
TEST(NDArray, AnEmptyReshapeBeyondAllMemoryIsAnError) {
  const NDArray empty({0}, DType::float32);
  constexpr int64_t kHuge = int64_t{1} << 62;
  EXPECT_EQ(empty.reshape({0, 1 << 20, 1 << 20}).shape(), (Shape{0, 1 << 20, 1 << 20}));
  for (const Shape& shape : {Shape{0, kHuge, kHuge}, Shape{kHuge, 0, kHuge}, Shape{kHuge, kHuge, 0}}) {
    EXPECT_THROW(empty.reshape(shape), ShapeError) << shape;
    EXPECT_THROW(empty.unsqueeze(0).transpose(0, 1).reshape(shape), ShapeError) << shape;
  }
}

}  // namespace
}  // namespace thimble
