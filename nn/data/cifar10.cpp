#include <vector>

#include <thimble/core/text.h>
#include <thimble/nn/data/byte_reader.h>
#include <thimble/nn/data/cifar10.h>
#include <thimble/nn/data/find_file.h>

namespace thimble::data {

namespace {

constexpr int64_t kMostRecords = 1'000'000;                     // a small file may inflate to any number
constexpr size_t kPixels = 3 * 32 * 32, kRecord = 1 + kPixels;  // a label and planes of red, green, blue

std::vector<std::string> files_of(Split split) {
  if (split == Split::test) return {"test_batch.bin"};
  std::vector<std::string> files;
  for (int i = 1; i <= 5; ++i) files.push_back(str("data_batch_", i, ".bin"));
  return files;
}

// Appends the file's records, all of which must be whole.
void read_records(const std::string& path, std::vector<uint8_t>& pixels, std::vector<uint8_t>& labels) {
  const std::string name = detail::quote_path(path);
  ByteReader file(path);
  std::array<uint8_t, kRecord> record;
  for (int64_t i = 0;; ++i) {
    const size_t got = file.read(record.data(), record.size());
    check<FormatError>(got == 0 || got == kRecord, name, ": ends within record ", i, ", after ", got, " of ", kRecord,
                       " bytes");
    check<FormatError>(got > 0 || i > 0, name, ": is empty");
    check<FormatError>(i < kMostRecords, name, ": holds more than ", kMostRecords, " pictures");
    if (got == 0) return;
    check<FormatError>(record[0] < CIFAR10::kClasses.size(), name, ": label ", i, " is ", int{record[0]},
                       ", expected less than ", CIFAR10::kClasses.size());
    labels.push_back(record[0]);
    pixels.insert(pixels.end(), record.begin() + 1, record.end());
  }
}

ImageDataset read_cifar10(const std::string& folder, Split split, const Preprocessing& preprocessing) {
  std::vector<uint8_t> pixels, labels;
  for (const std::string& file : files_of(split))
    read_records(
        find_file(folder, file, "unpack cifar-10-binary.tar.gz (https://www.cs.toronto.edu/~kriz/cifar.html) there"),
        pixels, labels);
  const int64_t count = std::ssize(labels);
  return {NDArray::from_vector(pixels, {count, 3, 32, 32}), NDArray::from_vector(labels), preprocessing};
}

}  // namespace

CIFAR10::CIFAR10(const std::string& folder, Split split, const Preprocessing& preprocessing)
    : ImageDataset(read_cifar10(folder, split, preprocessing)) {}

}  // namespace thimble::data
