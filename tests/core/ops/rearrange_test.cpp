#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/core/views.h"
#include <thimble/core/ops/einsum.h>
#include <thimble/core/ops/rearrange.h>
#include <thimble/core/ops/shape.h>

namespace thimble {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(Tile, RepeatsEachDimension) {
  Generator generator(1);
  for (const NDArray& x : randn_layouts({2, 1, 3}, generator)) {
    const NDArray y = tile(x, {2, 3, 1}).data();
    ASSERT_EQ(y.shape(), (Shape{4, 3, 3}));
    for_each_index(y.shape(), [&](const Shape& i) { EXPECT_EQ(at(y, i), at(x, {i[0] % 2, 0, i[2]})); });
    check_gradients([](const auto& t) { return tile(t[0], {2, 3, 1}); }, {x});
    check_gradients([](const auto& t) { return tile(t[0], {1, 0, 2}); }, {x});
  }
  EXPECT_THROW(tile(NDArray::zeros({2}), {1, 2}), ShapeError);
  EXPECT_THROW(tile(NDArray::zeros({2}), {-1}), ValueError);
  EXPECT_THROW(tile(NDArray::zeros({4}), {int64_t{1} << 62}), ShapeError);
}

TEST(PixelShuffle, MovesChannelsToSpaceAndBack) {
  const NDArray x = NDArray::arange(8).reshape({1, 8, 1, 1});
  EXPECT_EQ(pixel_shuffle(x, 2).data().to_vector<int>(), (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(pixel_shuffle(x, 2, true).data().to_vector<int>(), (std::vector<int>{0, 2, 4, 6, 1, 3, 5, 7}));
  Generator generator(2);
  for (const bool depth_first : {false, true}) {
    for (const NDArray& image : randn_layouts({2, 8, 3, 2}, generator)) {
      const Tensor y = pixel_shuffle(image, 2, depth_first);
      EXPECT_EQ(y.shape(), (Shape{2, 2, 6, 4}));
      EXPECT_EQ(pixel_unshuffle(y, 2, depth_first).data().to_vector<double>(), image.to_vector<double>());
      check_gradients([&](const auto& t) { return pixel_shuffle(t[0], 2, depth_first); }, {image});
    }
  }
  EXPECT_THROW(pixel_shuffle(NDArray::zeros({1, 3, 2, 2}), 2), ShapeError);
  EXPECT_THROW(pixel_unshuffle(NDArray::zeros({1, 3, 3, 2}), 2), ShapeError);
  EXPECT_THROW(pixel_shuffle(NDArray::zeros({1, 4, 2, 2}), 0), ValueError);
}

TEST(Triangles, KeepOneSideOfADiagonal) {
  Generator generator(3);
  for (const Shape& shape : {Shape{3, 4}, Shape{2, 4, 3}, Shape{1, 1}, Shape{2, 0, 3}}) {
    for (const NDArray& x : randn_layouts(shape, generator)) {
      for (const int64_t k : {-5, -1, 0, 2, 9}) {
        const NDArray upper = triu(x, k).data(), lower = tril(x, k).data();
        for_each_index(shape, [&](const Shape& i) {
          const int64_t distance = i[shape.ndim() - 1] - i[shape.ndim() - 2];
          EXPECT_EQ(at(upper, i), distance >= k ? at(x, i) : 0);
          EXPECT_EQ(at(lower, i), distance <= k ? at(x, i) : 0);
        });
      }
      check_gradients([](const auto& t) { return triu(t[0], 1); }, {x});
    }
  }
  EXPECT_EQ(triu(NDArray::ones({1, 1}), std::numeric_limits<int64_t>::min()).item<float>(), 1);
}

TEST(Diagonal, IsAViewOfTwoDimensions) {
  Generator generator(4);
  for (const NDArray& x : randn_layouts({3, 2, 3}, generator)) {
    const NDArray y = diagonal(x, 0, -1).data();
    ASSERT_EQ(y.shape(), (Shape{2, 3}));
    EXPECT_TRUE(y.shares_memory_with(x));
    for_each_index(y.shape(), [&](const Shape& i) { EXPECT_EQ(at(y, i), at(x, {i[1], i[0], i[1]})); });
    check_gradients([](const auto& t) { return diagonal(t[0], 0, 2); }, {x});
  }
  EXPECT_THROW(diagonal(NDArray::zeros({3, 2}), 0, 1), ShapeError);
}

TEST(Chunk, MakesPartsOfOneSizeButForTheLast) {
  Generator generator(5);
  const NDArray x = randn_view({2, 7}, generator);
  const std::vector<Tensor> parts = chunk(x, 4, 1);
  EXPECT_EQ(parts[2].shape(), (Shape{2, 2}));
  EXPECT_EQ(parts[3].shape(), (Shape{2, 1}));
  EXPECT_EQ(concat(parts, 1).data().to_vector<double>(), x.to_vector<double>());
  EXPECT_EQ(chunk(x, 5, 1)[4].shape(), (Shape{2, 0}));
  EXPECT_THROW(chunk(x, 0, 1), ValueError);
  for (size_t i : {0, 2, 3}) check_gradients([i](const auto& t) { return chunk(t[0], 4, 1)[i]; }, {x});
}

TEST(ReverseSequence, TurnsEachSamplesOwnPart) {
  const NDArray x = NDArray::arange(6).reshape({3, 2}), lengths = NDArray::from_vector<int64_t>({3, 1});
  EXPECT_EQ(reverse_sequence(x, lengths, 1, 0).data().to_vector<int>(), (std::vector<int>{4, 1, 2, 3, 0, 5}));
  Generator generator(6);
  const NDArray more = NDArray::from_vector<int64_t>({0, 2, 4});
  check_gradients([&](const auto& t) { return reverse_sequence(t[0], more, 0, -1); },
                  {randn_view({3, 2, 4}, generator)});
  EXPECT_THROW(reverse_sequence(x, NDArray::from_vector<int64_t>({4, 1}), 1, 0), ValueError);
}

TEST(EyeLike, HasOnesOnADiagonal) {
  const NDArray x = NDArray::zeros({2, 3});
  EXPECT_EQ(eye_like(x, 1, DType::int32).data().to_vector<int>(), (std::vector<int>{0, 1, 0, 0, 0, 1}));
  EXPECT_EQ(eye_like(x, -1, DType::bool_).data().to_vector<int>(), (std::vector<int>{0, 0, 0, 1, 0, 0}));
  EXPECT_EQ(eye_like(x, 3, DType::float32).data().to_vector<int>(), std::vector<int>(6, 0));
}

Tensor number(double value, DType dtype) { return Tensor::scalar(value, dtype); }

TEST(Arange, DoesNotAddUp) {
  const NDArray tenths =
      arange(number(0, DType::float32), number(1000, DType::float32), number(0.1f, DType::float32)).data();
  EXPECT_EQ(tenths.numel(), 10000);
  EXPECT_EQ(tenths.slice(0, 9999, 10000).item<float>(), static_cast<float>(9999 * static_cast<double>(0.1f)));
  EXPECT_EQ(arange(number(10, DType::int32), number(4, DType::int32), number(-4, DType::int32)).data().to_vector<int>(),
            (std::vector<int>{10, 6}));
  EXPECT_EQ(arange(number(1, DType::int64), number(1, DType::int64), number(2, DType::int64)).numel(), 0);
  constexpr int64_t kLeast = std::numeric_limits<int64_t>::min(), kGreatest = std::numeric_limits<int64_t>::max();
  const auto whole = [](int64_t value) { return Tensor(NDArray::from_vector<int64_t>({value}, {})); };
  EXPECT_EQ(arange(whole(kLeast), whole(kGreatest), whole(kGreatest)).data().to_vector<int64_t>(),
            (std::vector<int64_t>{kLeast, -1, kGreatest - 1}));
  EXPECT_THROW(arange(whole(kLeast), whole(kGreatest), whole(1)), ValueError);
  EXPECT_THROW(arange(whole(0), whole(1), whole(0)), ValueError);
  EXPECT_THROW(arange(number(0, DType::float32), number(1, DType::float32), number(0, DType::float32)), ValueError);
}

TEST(Pad, ModesRepeatWhatIsThere) {
  const NDArray x = NDArray::arange(3);
  using Ints = std::vector<int>;
  EXPECT_EQ(pad(x, {4, 5}, PadMode::reflect).data().to_vector<int>(), (Ints{0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1}));
  EXPECT_EQ(pad(x, {2, 1}, PadMode::replicate).data().to_vector<int>(), (Ints{0, 0, 0, 1, 2, 2}));
  EXPECT_EQ(pad(x, {4, 2}, PadMode::circular).data().to_vector<int>(), (Ints{2, 0, 1, 2, 0, 1, 2, 0, 1}));
  // Cuts come first.
  EXPECT_EQ(pad(x, {-1, 2}, PadMode::reflect).data().to_vector<int>(), (Ints{1, 2, 1, 2}));
  EXPECT_EQ(pad(x, {1, -1}, 7).data().to_vector<int>(), (Ints{7, 0, 1}));
  EXPECT_EQ(pad(x, {-2, -1}).numel(), 0);
  Generator generator(7);
  for (const NDArray& v : randn_layouts({2, 3, 4}, generator)) {
    for (const PadMode mode : {PadMode::constant, PadMode::reflect, PadMode::replicate, PadMode::circular}) {
      check_gradients([&](const auto& t) { return pad(t[0], {1, 2, 2, 0, 3, 1}, mode); }, {v});
      check_gradients([&](const auto& t) { return pad(t[0], {-1, 2, 1, -2}, mode); }, {v});
    }
  }
}

TEST(Pad, TakesAxesAndAValueAsOnnxDoes) {
  const NDArray x = NDArray::arange(4, DType::int64).reshape({2, 2});
  const NDArray value = NDArray::from_vector<int64_t>({(int64_t{1} << 53) + 1});
  const Attributes attributes{{"pads", std::vector<int64_t>{1, 0}}, {"axes", std::vector<int64_t>{-1}}};
  EXPECT_EQ(apply(make_op("pad", attributes), {x, value}).data().to_vector<int64_t>(),
            (std::vector<int64_t>{value.item<int64_t>(), 0, 1, value.item<int64_t>(), 2, 3}));
  const Attributes twice{{"pads", std::vector<int64_t>{1, 0, 1, 0}}, {"axes", std::vector<int64_t>{-1, 1}}};
  EXPECT_THROW(apply(make_op("pad", twice), {x}), ShapeError);
  EXPECT_THROW(make_op("pad", {{"padding", std::vector<int64_t>{}}, {"mode", std::string("mirror")}}), FormatError);
}

TEST(Squeeze, OfNoAxesTakesAllOfSizeOne) {
  const Tensor x(NDArray::arange(3, DType::float64).reshape({1, 3, 1}), true);
  const Tensor y = squeeze(x);
  EXPECT_EQ(y.shape(), Shape{3});
  y.backward(NDArray::ones({3}, DType::float64));
  EXPECT_EQ(x.grad().shape(), x.shape());
  const Attributes axes{{"axes", std::vector<int64_t>{-1, 0}}};
  EXPECT_EQ(apply(make_op("squeeze", axes), {x}).shape(), Shape{3});
  EXPECT_EQ(apply(make_op("unsqueeze", axes), {y}).shape(), (Shape{1, 3, 1}));
}

struct EinsumCase {
  const char* equation;
  std::vector<Shape> operands;
  Shape result;
};

// The sum over every assignment of indices to letters, as the definition says.
double naive_einsum(const std::string& equation, const std::vector<NDArray>& operands, const Shape& place) {
  std::vector<std::string> terms{""};
  const size_t arrow = equation.find("->");
  for (const char c : equation.substr(0, arrow)) {
    if (c == ',')
      terms.emplace_back();
    else
      terms.back() += c;
  }
  std::string letters = equation.substr(arrow + 2);
  Shape sizes, wanted = place;
  for (const char c : letters) (void)c, sizes.push_back(0);
  for (size_t o = 0; o < terms.size(); ++o) {
    for (size_t d = 0; d < terms[o].size(); ++d) {
      size_t at = letters.find(terms[o][d]);
      if (at == std::string::npos) {
        at = letters.size();
        letters += terms[o][d];
        sizes.push_back(0);
      }
      sizes[static_cast<int>(at)] = std::max(sizes[static_cast<int>(at)], operands[o].shape(static_cast<int>(d)));
    }
  }
  double total = 0;
  for_each_index(sizes, [&](const Shape& i) {
    for (int d = 0; d < wanted.ndim(); ++d)
      if (i[d] != wanted[d]) return;
    double product = 1;
    for (size_t o = 0; o < terms.size(); ++o) {
      Shape index;
      for (size_t d = 0; d < terms[o].size(); ++d)
        index.push_back(
            std::min(i[static_cast<int>(letters.find(terms[o][d]))], operands[o].shape(static_cast<int>(d)) - 1));
      product *= at(operands[o], index);
    }
    total += product;
  });
  return total;
}

TEST(Einsum, IsTheSumOfItsDefinition) {
  Generator generator(8);
  const std::vector<EinsumCase> cases = {
      {"ij->ji", {{2, 3}}, {3, 2}},
      {"ij->", {{2, 3}}, {}},
      {"iij->ji", {{3, 3, 2}}, {2, 3}},
      {"i,i->", {{4}, {4}}, {}},
      {"i,j->ij", {{2}, {3}}, {2, 3}},
      {"bij,bjk->bik", {{2, 3, 4}, {2, 4, 2}}, {2, 3, 2}},
      {"bij,bkj->ikb", {{2, 3, 4}, {2, 2, 4}}, {3, 2, 2}},
      {"ij,jk,kl->il", {{2, 3}, {3, 2}, {2, 4}}, {2, 4}},
      {"ij,k->i", {{2, 3}, {4}}, {2}},
      {"ij,ij->ij", {{2, 1}, {2, 3}}, {2, 3}},
      {"ii,i->i", {{3, 3}, {3}}, {3}},
  };
  for (const EinsumCase& c : cases) {
    SCOPED_TRACE(c.equation);
    std::vector<NDArray> operands;
    std::vector<Tensor> tensors;
    for (const Shape& shape : c.operands) {
      operands.push_back(randn_view(shape, generator));
      tensors.emplace_back(operands.back());
    }
    const NDArray y = einsum(c.equation, tensors).data();
    ASSERT_EQ(y.shape(), c.result);
    for_each_index(y.shape(),
                   [&](const Shape& i) { EXPECT_NEAR(at(y, i), naive_einsum(c.equation, operands, i), 1e-12); });
    check_gradients([&](const auto& t) { return einsum(c.equation, t); }, operands);
  }
}

TEST(Einsum, KnowsEllipsesAndImplicitResults) {
  Generator generator(9);
  const NDArray a = randn({2, 3, 4}, generator, DType::float64), b = randn({5, 1, 4, 2}, generator, DType::float64);
  EXPECT_EQ(einsum("...ij,...jk->...ik", {a, b}).data().to_vector<double>(),
            einsum("bij,cbjk->cbik", {a, b.broadcast_to({5, 2, 4, 2})}).data().to_vector<double>());
  check_gradients([](const auto& t) { return einsum("...ij,...jk", t); }, {a, b});
  EXPECT_EQ(einsum("ba", {a.slice(0, 0, 1).squeeze(0)}).shape(), (Shape{4, 3}));
  const NDArray whole = NDArray::arange(6, DType::int64).reshape({2, 3});
  EXPECT_EQ(einsum("ij,kj->ik", {whole, whole}).data().to_vector<int64_t>(), (std::vector<int64_t>{5, 14, 14, 50}));
}

TEST(Einsum, GradientsAreOfTheOperandsShapesWhereSizesAreZero) {
  check_gradients([](const auto& t) { return einsum("ij->i", t); }, {NDArray::zeros({2, 0}, DType::float64)});
  check_gradients([](const auto& t) { return einsum("bij,bjk->bik", t); },
                  {NDArray::ones({2, 3, 1}, DType::float64), NDArray::zeros({2, 0, 4}, DType::float64)});
}

TEST(Einsum, RefusesWhatIsNoEquation) {
  const Tensor x = NDArray::ones({2, 3});
  for (const char* equation : {"i?->i", "ij->ii", "ij->k", "ij->i->j", "i.j->i", "..0->0"})
    EXPECT_THROW(einsum(equation, {x}), ValueError) << equation;
  EXPECT_THROW(einsum("ij,jk->ik", {x}), ValueError);
  EXPECT_THROW(einsum("ijk->i", {x}), ShapeError);
  EXPECT_THROW(einsum("i->i", {x}), ShapeError);
  EXPECT_THAT(
      [&] {
        einsum("ij,ij->", {x, NDArray::ones({3, 3})});
      },
      ThrowsMessage<ShapeError>(HasSubstr("einsum: 'i' has size 2 in one operand and 3 in another")));
}

}  // namespace
}  // namespace thimble
