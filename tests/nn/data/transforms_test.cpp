#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/core/special_values.h"
#include <thimble/nn/data/dataloader.h>
#include <thimble/nn/data/tensor_dataset.h>
#include <thimble/nn/data/transforms.h>

namespace thimble::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

NDArray image(int64_t channels, int64_t height, int64_t width) {
  return NDArray::arange(channels * height * width).reshape({channels, height, width});
}

std::vector<float> values(const NDArray& x) { return x.to_vector<float>(); }

// Every part that there is, each about as often as the others.
TEST(RandomCrop, TakesEachPartOfThePaddedImage) {
  const NDArray x = image(2, 3, 4);
  const RandomCrop crop({2, 3}, {.padding = 1, .fill = -1});
  std::map<std::vector<float>, int> seen;
  Generator random(1);
  for (int i = 0; i < 1600; ++i) {
    const NDArray y = crop(x, random);
    ASSERT_EQ(y.shape(), (Shape{2, 2, 3}));
    ++seen[values(y)];
  }
  std::map<std::vector<float>, int> expected;
  const auto pixel = [&](int64_t c, int64_t y, int64_t column) {
    const bool is_inside = y >= 0 && y < 3 && column >= 0 && column < 4;
    return is_inside ? static_cast<float>(c * 12 + y * 4 + column) : -1.0f;
  };
  for (int64_t top = -1; top <= 2; ++top)
    for (int64_t left = -1; left <= 2; ++left) {
      std::vector<float> part;
      for (int64_t c = 0; c < 2; ++c)
        for (int64_t y = top; y < top + 2; ++y)
          for (int64_t column = left; column < left + 3; ++column) part.push_back(pixel(c, y, column));
      EXPECT_GT(seen[part], 60) << top << ' ' << left;
    }
  EXPECT_EQ(seen.size(), 16u);
  EXPECT_EQ(values(RandomCrop({3, 4})(x, random)), values(x));
  EXPECT_THAT(
      [&] {
        RandomCrop({6, 3}, {.padding = 1})(x, random);
      },
      ThrowsMessage<ShapeError>(HasSubstr("no part of 6 x 3 pixels")));
  EXPECT_THAT(values(RandomCrop(1, {.padding = 9, .fill = 5})(image(1, 0, 0), random)), ElementsAre(5));
}

TEST(RandomHorizontalFlip, FlipsWithItsProbability) {
  const NDArray x = image(2, 1, 3);
  const std::vector<float> flipped{2, 1, 0, 5, 4, 3};
  for (const double p : {0.0, 0.25, 1.0}) {
    Generator random(2);
    int flips = 0;
    for (int i = 0; i < 1000; ++i) {
      const std::vector<float> y = values(RandomHorizontalFlip(p)(x, random));
      EXPECT_TRUE(y == flipped || y == values(x));
      flips += y == flipped;
    }
    EXPECT_NEAR(flips, 1000 * p, 50);
  }
}

struct AffineCase {
  double degrees, right, down;
  float fill;
  std::vector<float> expected;
};

// torchvision 0.14's affine(x - fill) + fill, InterpolationMode.BILINEAR, of x = torch.arange(40).reshape(2, 4, 5) % 7.
// With a fill of its own it weighs what lies at the edge twice.
const AffineCase kAffineCases[] = {
    {30, 0, 0, 0.0, {2.38157f,  3.88878f, 1.90313f, 1.48325f,  0.599279f, 2.88397f, 4.75f,     1.71771f,
                     1.48205f,  3.34808f, 1.65192f, 3.51795f,  4.91506f,  2.92941f, 2.11603f,  0.405531f,
                     2.02156f,  4.15192f, 2.99528f, 0.208176f, 1.86362f,  4.17829f, 1.25481f,  0.782291f,
                     0.398317f, 1.88397f, 3.75f,    5.61603f,  2.00601f,  2.34808f, 0.651924f, 2.51795f,
                     4.26675f,  2.28109f, 1.11603f, 0.204569f, 1.32059f,  3.15192f, 5.01795f,  2.58725f}},
    {-75.5, 1, -2, 2.5, {2.5f, 1.47711f,  3.32943f, 3.91193f, 3.57963f,  2.5f, 0.195977f, 4.83451f, 3.79664f, 2.11072f,
                         2.5f, 2.37761f,  3.21921f, 2.64381f, 1.37214f,  2.5f, 2.5f,      2.5f,     2.5f,     2.5f,
                         2.5f, 0.788211f, 3.55076f, 4.26555f, 2.57963f,  2.5f, 5.52248f,  4.28983f, 2.79664f, 1.11072f,
                         2.5f, 2.74613f,  2.88996f, 2.06418f, 0.620228f, 2.5f, 2.5f,      2.5f,     2.5f,     2.5f}},
    {0, 2, 1, -1.0, {-1, -1, -1, -1, -1, -1, -1, 0, 1, 2, -1, -1, 5, 6, 0, -1, -1, 3, 4, 5,
                     -1, -1, -1, -1, -1, -1, -1, 6, 0, 1, -1, -1, 4, 5, 6, -1, -1, 2, 3, 4}},
    {180, 0, 0, 0.0, {5, 4, 3, 2, 1, 0, 6, 5, 4, 3, 2, 1, 0, 6, 5, 4, 3, 2, 1, 0,
                      4, 3, 2, 1, 0, 6, 5, 4, 3, 2, 1, 0, 6, 5, 4, 3, 2, 1, 0, 6}},
};

TEST(Affine, IsThatOfTorchvision) {
  std::vector<float> pixels;
  for (int i = 0; i < 40; ++i) pixels.push_back(static_cast<float>(i % 7));
  for (const AffineCase& c : kAffineCases) {
    const NDArray y = affine(NDArray::from_vector(pixels, {2, 4, 5}), c.degrees, c.right, c.down, c.fill);
    EXPECT_THAT(values(y), testing::Pointwise(testing::FloatNear(2e-5f), c.expected)) << c.degrees;
  }
}

TEST(RandomAffine, StaysWithinItsBounds) {
  NDArray x = NDArray::zeros({1, 21, 21});
  x.data<float>()[10 * 21 + 10] = 1;  // the middle: shifts move it, rotations do not
  const RandomAffine transform({.degrees = 180, .shift_x = 0.2, .shift_y = 0.1});
  Generator random(3);
  std::set<std::pair<int64_t, int64_t>> places;
  for (int i = 0; i < 500; ++i) {
    const std::vector<float> y = values(transform(x, random));
    const auto at = std::ranges::max_element(y) - y.begin();
    ASSERT_NEAR(y[static_cast<size_t>(at)], 1, 1e-5);
    places.emplace(at / 21 - 10, at % 21 - 10);
  }
  for (const auto& [down, right] : places) {
    EXPECT_LE(std::abs(down), 2);
    EXPECT_LE(std::abs(right), 4);
  }
  EXPECT_EQ(places.size(), 45u);
  // A pixel at the side goes around the middle.
  x.fill(0);
  x.data<float>()[10 * 21 + 16] = 1;
  std::set<std::pair<bool, bool>> quarters;
  for (int i = 0; i < 50; ++i) {
    const std::vector<float> y = values(RandomAffine({.degrees = 180})(x, random));
    const auto at = std::ranges::max_element(y) - y.begin();
    EXPECT_NEAR(std::hypot(static_cast<double>(at / 21 - 10), static_cast<double>(at % 21 - 10)), 6, 1);
    quarters.emplace(at / 21 > 10, at % 21 > 10);
  }
  EXPECT_EQ(quarters.size(), 4u);
  EXPECT_THAT(values(RandomAffine({})(image(1, 2, 2), random)), ElementsAre(0, 1, 2, 3));
}

TEST(Cutout, ClearsASquareInAllChannels) {
  const NDArray x = image(2, 6, 5);
  Generator random(4);
  std::set<int64_t> sizes;
  for (int i = 0; i < 300; ++i) {
    const std::vector<float> y = values(Cutout(3, -1)(x, random));
    int64_t cleared = 0;
    for (size_t p = 0; p < 30; ++p) {
      const bool is_cleared = y[p] == -1;
      EXPECT_EQ(is_cleared, y[30 + p] == -1);
      EXPECT_EQ(y[p], is_cleared ? -1 : static_cast<float>(p));
      cleared += is_cleared;
    }
    sizes.insert(cleared);
  }
  EXPECT_THAT(sizes, ElementsAre(4, 6, 9));
  EXPECT_EQ(values(x)[1], 1) << "not in place";
}

TEST(Normalize, HasANumberForEachChannelOrOneForAll) {
  Generator random;
  const NDArray x = image(2, 1, 2);
  EXPECT_THAT(values(Normalize({1, 2}, {2, 4})(x, random)), ElementsAre(-0.5f, 0, 0, 0.25f));
  EXPECT_THAT(values(Normalize({1}, {2})(x, random)), ElementsAre(-0.5f, 0, 0.5f, 1));
  EXPECT_THROW(Normalize({1, 2, 3}, {1, 1, 1})(x, random), ShapeError);
}

TEST(Transforms, RefuseWhatIsNoImageAndUnsoundSettings) {
  Generator random;
  for (const Transform& transform : std::vector<Transform>{RandomCrop(2), RandomHorizontalFlip(1), RandomAffine({}),
                                                           Cutout(1), Normalize({0}, {1})}) {
    EXPECT_THROW(transform(NDArray::zeros({3, 4}), random), ShapeError);
    EXPECT_THROW(transform(NDArray::zeros({3, 4, 5}, DType::uint8), random), DTypeError);
  }
  EXPECT_THROW(RandomCrop(0), ValueError);
  EXPECT_THROW(RandomCrop(2, {.padding = -1}), ValueError);
  EXPECT_THROW(RandomHorizontalFlip(1.5), ValueError);
  EXPECT_THROW(RandomAffine({.degrees = -1}), ValueError);
  EXPECT_THROW(RandomAffine({.shift_y = 2}), ValueError);
  EXPECT_THROW(Cutout(0), ValueError);
  EXPECT_THROW(Normalize({}, {}), ValueError);
  EXPECT_THROW(Normalize({0}, {0}), ValueError);
  EXPECT_THROW(Normalize({kNaN}, {1}), ValueError);
  EXPECT_THROW(affine(image(1, 2, 2), kNaN, 0, 0), ValueError);
  EXPECT_THROW(Transformed(nullptr, "x", {}), ValueError);
  EXPECT_THROW(MixUp(0, 10), ValueError);
  EXPECT_THROW(MixUp(1, 1), ValueError);
}

Batch two_fields(int64_t n) {
  NDArray labels({n}, DType::int64);
  for (int64_t i = 0; i < n; ++i) labels.data<int64_t>()[i] = i % 3;
  return Batch({{"x", NDArray::arange(n)}, {"label", labels}});
}

TEST(MixUp, MixesInputsAndClassesAlike) {
  double sum = 0;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    Batch batch = two_fields(6);
    Generator random(seed);
    MixUp(0.4, 3)(batch, random);
    ASSERT_EQ(batch["label"].shape(), (Shape{6, 3}));
    const std::vector<float> x = values(batch["x"].data()), p = values(batch["label"].data());
    std::set<float> lambdas;
    for (size_t i = 0; i < 6; ++i) {
      EXPECT_NEAR(p[3 * i] + p[3 * i + 1] + p[3 * i + 2], 1, 1e-6);
      EXPECT_GE(p[3 * i + i % 3], 0);
      if (p[3 * i + i % 3] < 0.999f) lambdas.insert(std::round(p[3 * i + i % 3] * 1e4f));
    }
    EXPECT_LE(lambdas.size(), 1u) << "one for the batch";
    // Which example it was mixed with, its class tells: numbers are their class's, modulo 3.
    const float lambda = lambdas.empty() ? 1 : *lambdas.begin() / 1e4f;
    for (size_t i = 0; i < 6 && lambda < 0.98f; ++i) {
      const float other = (x[i] - lambda * static_cast<float>(i)) / (1 - lambda);
      const auto of_other = static_cast<size_t>(std::lround(other)) % 3;
      EXPECT_NEAR(p[3 * i + of_other], of_other == i % 3 ? 1 : 1 - lambda, 2e-4) << seed << ' ' << i;
    }
    sum += lambdas.empty() ? 0.5 : *lambdas.begin() / 1e4;
  }
  EXPECT_NEAR(sum / 200, 0.5, 0.1);
  Batch bad({{"x", NDArray::zeros({1})}, {"label", NDArray::full({1}, 3, DType::int64)}});
  Generator random;
  EXPECT_THAT([&] { MixUp(1, 3)(bad, random); }, ThrowsMessage<ValueError>(HasSubstr("class 3 of 3")));
}

// The transforms of one dataset draw by themselves, those of another around it, too.
TEST(Transformed, DrawsBySeedEpochAndExample) {
  const auto noise = [](const NDArray& x, Generator& random) {
    NDArray y = x.clone();
    for (float& v : std::span(y.data<float>(), static_cast<size_t>(y.numel())))
      v = v * 2 + static_cast<float>(random.uniform());
    return y;
  };
  const auto zeros =
      std::make_shared<TensorDataset>(Batch::Fields{{"x", NDArray::zeros({12, 1})}, {"y", NDArray::arange(12)}});
  const auto once = std::make_shared<Transformed>(zeros, "x", std::vector<Transform>{noise});
  const Transformed twice(once, "x", {noise, noise});
  const auto epoch_of = [](const Dataset& data, const DataLoaderOptions& options, int64_t epoch) {
    DataLoader loader(data, options);
    loader.set_epoch(epoch);
    std::map<float, float> drawn;
    for (auto& [x, y] : loader)
      for (int64_t i = 0; i < y.numel(); ++i) drawn[y.data().data<float>()[i]] = x.data().data<float>()[i];
    return drawn;
  };
  const auto first = epoch_of(twice, {.batch_size = 5, .shuffle = true, .seed = 1}, 0);
  EXPECT_EQ(first.size(), 12u);
  EXPECT_EQ(epoch_of(twice, {.batch_size = 12, .seed = 1, .workers = 2}, 0), first);
  EXPECT_NE(epoch_of(twice, {.batch_size = 12, .seed = 1}, 1), first);
  EXPECT_NE(epoch_of(twice, {.batch_size = 12, .seed = 2}, 0), first);
  std::set<float> different;
  for (const auto& [y, x] : first) different.insert(x);
  EXPECT_EQ(different.size(), 12u);
  EXPECT_THROW(Transformed(zeros, "nothing", {noise}).batch(std::vector<int64_t>{0}), ValueError);
  const Transformed uneven(zeros, "x", {[](const NDArray& x, Generator& random) {
                             return random.uniform() < 0.5 ? x : x.reshape({1, 1});
                           }});
  EXPECT_THROW(uneven.batch(std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 7}), ShapeError);
}

TEST(DataLoader, TransformsBatchesBySeedEpochAndNumber) {
  const TensorDataset data({{"x", NDArray::arange(20)}, {"y", NDArray::zeros({20}, DType::int64)}});
  const auto batches_of = [&](uint64_t seed, int64_t skipped, int64_t workers) {
    DataLoader loader(data, {.batch_size = 4, .seed = seed, .workers = workers, .transform = MixUp(1, 2)});
    loader.skip(skipped);
    std::vector<std::vector<float>> seen;
    for (auto& [x, y] : loader) {
      EXPECT_EQ(y.shape(), (Shape{4, 2}));
      seen.push_back(values(x.data()));
    }
    return seen;
  };
  const auto all = batches_of(1, 0, 1);
  EXPECT_EQ(all.size(), 5u);
  EXPECT_EQ(batches_of(1, 0, 3), all);
  EXPECT_EQ(batches_of(1, 2, 2), std::vector(all.begin() + 2, all.end()));
  EXPECT_NE(batches_of(2, 0, 1), all);
}

}  // namespace
}  // namespace thimble::data
