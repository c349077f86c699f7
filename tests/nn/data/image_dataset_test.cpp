#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thimble/nn/data/image_dataset.h>

namespace thimble::data {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

// Pictures of 2 x 3 pixels.
NDArray counted_pixels(int64_t n, int64_t channels) {
  NDArray pixels({n, channels, 2, 3}, DType::uint8);
  for (int64_t i = 0; i < pixels.numel(); ++i) pixels.data<uint8_t>()[i] = static_cast<uint8_t>(i * 37 % 256);
  return pixels;
}

NDArray zero_labels(int64_t n) { return NDArray::zeros({n}, DType::uint8); }

TEST(ImageDataset, NormalizesEachChannelByItself) {
  const NDArray pixels = counted_pixels(4, 3);
  const ImageDataset plain(pixels, zero_labels(4), {.channels = 3});
  const auto [mean, std] = plain.channel_moments();
  const ImageDataset normalized(pixels, zero_labels(4), {.channels = 3, .channel_mean = mean, .channel_std = std});
  const std::vector<int64_t> all{0, 1, 2, 3};
  const NDArray x = plain.batch(all)["image"].data(), y = normalized.batch(all)["image"].data();
  for (int64_t c = 0; c < 3; ++c) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < 4; ++i)
      for (int64_t p = 0; p < 6; ++p) {
        const int64_t at = (i * 3 + c) * 6 + p;
        const double value = y.data<float>()[at];
        EXPECT_NEAR(value, (x.data<float>()[at] - mean[static_cast<size_t>(c)]) / std[static_cast<size_t>(c)], 1e-5);
        sum += value, squares += value * value;
      }
    EXPECT_NEAR(sum, 0, 1e-4);
    EXPECT_NEAR(squares, 24, 1e-4);
  }
}

// Black differs from channel to channel then.
TEST(ImageDataset, ChannelsOfGreyPicturesMayBeNormalizedByThemselves) {
  const ImageDataset images(counted_pixels(1, 1), zero_labels(1),
                            {.pad = 1, .channels = 2, .channel_mean = {0, 0.5}, .channel_std = {1, 0.25}});
  const NDArray x = images.batch(std::vector<int64_t>{0})["image"].data();
  ASSERT_EQ(x.shape(), (Shape{1, 2, 4, 5}));
  for (int64_t i = 0; i < 20; ++i) EXPECT_FLOAT_EQ(x.data<float>()[20 + i], (x.data<float>()[i] - 0.5f) / 0.25f) << i;
  EXPECT_EQ(x.data<float>()[20], -2);
}

TEST(ImageDataset, AConstantChannelHasADeviationOfOne) {
  const ImageDataset images(NDArray::full({2, 3, 3}, 51, DType::uint8), zero_labels(2));
  const auto moments = images.channel_moments();
  EXPECT_THAT(moments.mean, testing::ElementsAre(testing::DoubleEq(0.2)));
  EXPECT_THAT(moments.std, testing::ElementsAre(1));
}

TEST(ImageDataset, RefusesLabelsThatAreFarTooLarge) {
  const auto open = [](int64_t label) {
    return ImageDataset(counted_pixels(2, 1), NDArray::from_vector<int64_t>({3, label}));
  };
  EXPECT_EQ(open(65535).num_classes(), 65536);
  EXPECT_THAT([&] { open(65536); }, ThrowsMessage<ValueError>(HasSubstr("label 1 is 65536, expected 0 to 65535")));
  EXPECT_THROW(open(-1), ValueError);
  EXPECT_EQ(most_classes(70000), 70000);
}

TEST(Preprocessing, OfEachChannelSurvivesAttributes) {
  const Preprocessing p{.channels = 2, .channel_mean = {0.25, 0.5}, .channel_std = {0.5, 1}};
  EXPECT_EQ(Preprocessing::from_attributes(p.to_attributes()), p);
  EXPECT_THROW(p.to_attributes().get<double>("mean"), FormatError);  // what older programs ask for
}

TEST(Preprocessing, RefusesNumbersThatDoNotFitTheChannels) {
  const auto open = [](const Preprocessing& p) { ImageDataset(counted_pixels(1, 3), zero_labels(1), p); };
  for (const Preprocessing& p :
       std::vector<Preprocessing>{{.channels = 3, .channel_mean = {1, 2}, .channel_std = {1, 2}},
                                  {.channels = 3, .channel_mean = {1, 2, 3}},
                                  {.channels = 3, .channel_mean = {1, 2, 3}, .channel_std = {1, 2}},
                                  {.channels = 3, .channel_mean = {1, 2, 3}, .channel_std = {1, 0, 1}},
                                  {.channels = 3, .channel_mean = {1, NAN, 3}, .channel_std = {1, 1, 1}}}) {
    EXPECT_THAT([&] { open(p); }, ThrowsMessage<ValueError>(HasSubstr("preprocessing: ")));
    EXPECT_THROW(Preprocessing::from_attributes(p.to_attributes()), FormatError);
  }
}

}  // namespace
}  // namespace thimble::data
