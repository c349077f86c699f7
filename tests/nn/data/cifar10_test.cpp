#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <tests/serialization/files.h>

#include <thimble/core/error.h>
#include <thimble/nn/data/cifar10.h>

namespace thimble::data {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

// Red, green and blue are of one value each, number, number + 1 and number + 2.
std::string record(int label, int number) {
  std::string bytes(1, static_cast<char>(label));
  for (int plane = 0; plane < 3; ++plane) bytes += std::string(1024, static_cast<char>(number + plane));
  return bytes;
}

class Cifar10Test : public testing::Test {
 protected:
  Cifar10Test() {
    for (int file = 1; file <= 5; ++file)
      write_bytes(folder_ / str("data_batch_", file, ".bin"), record(file, 10 * file) + record(9, 10 * file + 5));
    write_bytes(folder_ / "test_batch.bin", record(0, 250));
  }

  TempFolder folder_;
};

TEST_F(Cifar10Test, ReadsItsFilesInOrder) {
  const CIFAR10 train(folder_.path().string(), Split::train), test(folder_.path().string(), Split::test);
  EXPECT_EQ(train.size(), 10);
  EXPECT_EQ(test.size(), 1);
  const Batch batch = train.batch(std::vector<int64_t>{9, 2});
  EXPECT_EQ(batch["image"].shape(), (Shape{2, 3, 32, 32}));
  EXPECT_THAT(batch["label"].data().to_vector<int64_t>(), ElementsAre(9, 2));
  const float* pixels = batch["image"].data().data<float>();
  EXPECT_EQ(pixels[0], 55.0f / 255);
  EXPECT_EQ(pixels[3071], 57.0f / 255);
  EXPECT_EQ(pixels[3072 + 1024], 21.0f / 255);
  EXPECT_EQ(CIFAR10::kClasses[9], "truck");
}

TEST_F(Cifar10Test, RefusesFilesThatAreMissingOrDamaged) {
  const std::string folder = folder_.path().string();
  const auto test = [&] { CIFAR10(folder, Split::test); };
  write_bytes(folder_ / "test_batch.bin", record(10, 0));
  EXPECT_THAT(test, ThrowsMessage<FormatError>(AllOf(HasSubstr("test_batch.bin"), HasSubstr("label 0 is 10"))));
  write_bytes(folder_ / "test_batch.bin", record(1, 0) + "ab");
  EXPECT_THAT(test, ThrowsMessage<FormatError>(HasSubstr("ends within record 1, after 2 of 3073 bytes")));
  write_bytes(folder_ / "test_batch.bin", "");
  EXPECT_THAT(test, ThrowsMessage<FormatError>(HasSubstr("is empty")));
  std::filesystem::remove(folder_ / "data_batch_3.bin");
  EXPECT_THAT([&] { CIFAR10(folder, Split::train); },
              ThrowsMessage<IOError>(AllOf(HasSubstr("'data_batch_3.bin' is not in"), HasSubstr("cifar-10-binary"))));
}

}  // namespace
}  // namespace thimble::data
