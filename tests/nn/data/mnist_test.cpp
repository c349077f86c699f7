#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/nn/data/idx_files.h"
#include <thimble/nn/data/mnist.h>

namespace thimble::data {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr int kHeight = 5, kWidth = 7;

int pixel(int64_t image, int64_t y, int64_t x) { return static_cast<int>((image * 101 + y * 17 + x * 5) % 256); }

std::string images(int n) {
  std::string bytes = idx_header(0x08, {static_cast<uint32_t>(n), kHeight, kWidth});
  for (int i = 0; i < n; ++i)
    for (int y = 0; y < kHeight; ++y)
      for (int x = 0; x < kWidth; ++x) bytes += static_cast<char>(pixel(i, y, x));
  return bytes;
}

std::string labels(int n) {
  std::string bytes = idx_header(0x08, {static_cast<uint32_t>(n)});
  for (int i = 0; i < n; ++i) bytes += static_cast<char>(i % 10);
  return bytes;
}

class Mnist : public TemporaryFolder {
 protected:
  Mnist() {
    write("train-images-idx3-ubyte", images(13));
    write("train-labels-idx1-ubyte", labels(13));
    write("t10k-images-idx3-ubyte.gz", gzip(images(4)));
    write("t10k-labels-idx1-ubyte.gz", gzip(labels(4)));
  }
};

// The input's value by the definition, pixel by pixel.
float expected(const Preprocessing& p, int64_t image, int64_t y, int64_t x) {
  const int64_t h = p.crop ? p.crop : kHeight, w = p.crop ? p.crop : kWidth;
  y -= p.pad, x -= p.pad;
  const bool inside = y >= 0 && y < h && x >= 0 && x < w;
  const int value = inside ? pixel(image, y + (kHeight - h) / 2, x + (kWidth - w) / 2) : 0;
  return static_cast<float>((value / 255.0 - p.mean) / p.std);
}

TEST_F(Mnist, PreparesPixelsAsToldInEveryCombination) {
  for (int64_t crop : {0, 1, 4, 5}) {
    for (int64_t pad : {0, 1, 3}) {
      for (int64_t channels : {1, 3}) {
        for (bool flat : {false, true}) {
          for (double mean : {0.0, 0.1307}) {
            const Preprocessing p{
                .crop = crop, .pad = pad, .channels = channels, .flatten = flat, .mean = mean, .std = mean + 0.5};
            const MNIST data(folder(), Split::train, p);
            EXPECT_EQ(data.preprocessing(), p);
            const int64_t h = (crop ? crop : kHeight) + 2 * pad, w = (crop ? crop : kWidth) + 2 * pad;
            EXPECT_EQ(data.image_shape(), flat ? (Shape{channels * h * w}) : (Shape{channels, h, w}));
            const std::vector<int64_t> which = {12, 0, 7, 0};
            const Batch batch = data.batch(which);
            EXPECT_EQ(batch["label"].data().to_vector<int64_t>(), (std::vector<int64_t>{2, 0, 7, 0}));
            const NDArray x = batch["image"].data().reshape({4, channels, h, w});
            const float* value = x.data<float>();
            for (int64_t i : which)
              for (int64_t c = 0; c < channels; ++c)
                for (int64_t r = 0; r < h; ++r)
                  for (int64_t s = 0; s < w; ++s) ASSERT_FLOAT_EQ(*value++, expected(p, i, r, s)) << r << ' ' << s;
          }
        }
      }
    }
  }
}

TEST_F(Mnist, ScalesPixelsToOneByDefault) {
  const MNIST data(folder(), Split::test);
  EXPECT_EQ(data.size(), 4);
  const Tensor first = data.example();
  EXPECT_EQ(first.shape(), (Shape{1, 1, kHeight, kWidth}));
  EXPECT_EQ(first.dtype(), DType::float32);
  EXPECT_FLOAT_EQ(first.data().data<float>()[1], 5 / 255.0f);
}

TEST_F(Mnist, ChecksTheNumbersOfExamples) {
  const MNIST data(folder(), Split::train);
  for (int64_t bad : {int64_t{-1}, int64_t{13}})
    EXPECT_THAT([&] { data.batch({&bad, 1}); }, ThrowsMessage<ValueError>(HasSubstr("out of range, there are 13")));
}

TEST_F(Mnist, SaysWhatIsMissingAndWhatToDo) {
  std::filesystem::remove(path("train-labels-idx1-ubyte"));
  EXPECT_THAT([&] { MNIST(folder(), Split::train); },
              ThrowsMessage<IOError>(
                  AllOf(HasSubstr("train-labels-idx1-ubyte"), HasSubstr(folder()), HasSubstr("scripts/fetch-mnist"))));
  EXPECT_THAT([&] { FashionMNIST(folder(), Split::train); },
              ThrowsMessage<IOError>(HasSubstr("dataset-fashion-mnist")));
  EXPECT_THAT([&] { MNIST(path("nowhere"), Split::test); },
              ThrowsMessage<IOError>(AllOf(HasSubstr("there is no folder"), HasSubstr("scripts/fetch-mnist"))));
}

TEST_F(Mnist, RejectsFilesThatDoNotFitTogether) {
  auto rejects = [&](const std::string& image_bytes, const std::string& label_bytes, const char* text) {
    write("train-images-idx3-ubyte", image_bytes);
    write("train-labels-idx1-ubyte", label_bytes);
    EXPECT_THAT([&] { MNIST(folder(), Split::train); }, ThrowsMessage<FormatError>(HasSubstr(text)));
  };
  rejects(images(3), labels(4), "holds 4 labels for the 3 images");
  rejects(labels(3), labels(3), "holds uint8[3], expected images uint8[n,height,width]");
  rejects(images(3), images(3), "holds uint8[3,5,7], expected labels uint8[n]");
  rejects(images(0), labels(0), "holds uint8[0,5,7], expected images");
  rejects(images(2), idx_header(0x08, {2}) + '\1' + '\12', "label 1 is 10, expected less than 10");
  rejects(images(1), idx_header(0x0c, {1}) + big_endian(1), "holds int32[1], expected labels");
}

TEST_F(Mnist, RejectsImpossiblePreprocessing) {
  const double infinity = std::numeric_limits<double>::infinity();
  for (const Preprocessing& p : std::vector<Preprocessing>{{.crop = 6},
                                                           {.crop = -1},
                                                           {.pad = -1},
                                                           {.channels = 0},
                                                           {.pad = int64_t{1} << 40},
                                                           {.mean = infinity},
                                                           {.std = 0},
                                                           {.std = -1},
                                                           {.std = infinity}})
    EXPECT_THROW(MNIST(folder(), Split::train, p), ValueError);
}

TEST_F(Mnist, ReadsOtherClassesByTheBeginningOfTheirNames) {
  std::string letters = labels(13);
  letters.back() = 26;
  write("letters-train-images-idx3-ubyte", images(13));
  write("letters-train-labels-idx1-ubyte", letters);
  write("letters-test-images-idx3-ubyte.gz", gzip(images(13)));
  write("letters-test-labels-idx1-ubyte", letters);
  for (const Split split : {Split::train, Split::test}) {
    const IdxImages letters_of(folder() + "/letters", split);
    EXPECT_EQ(letters_of.size(), 13);
    EXPECT_EQ(letters_of.num_classes(), 27);
  }
  EXPECT_EQ(IdxImages(folder(), Split::train).size(), MNIST(folder(), Split::train).size());
  EXPECT_EQ(IdxImages(folder(), Split::test).size(), MNIST(folder(), Split::test).size());
  EXPECT_THROW(IdxImages(folder() + "/digits", Split::test), IOError);
}

TEST(Preprocessing, SurvivesAttributes) {
  const Preprocessing p{.crop = 20, .pad = 2, .channels = 3, .flatten = true, .mean = 0.1307, .std = 0.3081};
  EXPECT_EQ(Preprocessing::from_attributes(p.to_attributes()), p);
}

TEST(Preprocessing, RejectsAttributesThatAreIncomplete) {
  const Attributes all = Preprocessing().to_attributes();
  for (const auto& [missing, value] : all) {
    Attributes rest;
    for (const auto& [key, other] : all)
      if (key != missing) rest.set(key, other);
    EXPECT_THROW(Preprocessing::from_attributes(rest), FormatError) << missing;
  }
}

TEST(Preprocessing, RejectsAttributesOutOfRange) {
  for (const Attributes& a : std::vector<Attributes>{{{"crop", int64_t{-1}}},
                                                     {{"pad", int64_t{1} << 62}},
                                                     {{"channels", int64_t{0}}},
                                                     {{"std", 0.0}},
                                                     {{"mean", std::numeric_limits<double>::quiet_NaN()}},
                                                     {{"flatten", int64_t{1}}}}) {
    Attributes changed = Preprocessing().to_attributes();
    changed.set_all("", a);
    EXPECT_THROW(Preprocessing::from_attributes(changed), FormatError) << a;
  }
}

}  // namespace
}  // namespace thimble::data
