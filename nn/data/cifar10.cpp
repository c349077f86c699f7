#include <vector>

#include <thimble/core/text.h>
#include <thimble/nn/data/byte_reader.h>
#include <thimble/nn/data/cifar10.h>
#include <thimble/nn/data/find_file.h>

namespace thimble::data {

namespace {

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
    if (got == 0) return;
    check<FormatError>(record[0] < CIFAR10::kClasses.size(), name, ": label ", i, " is ", int{record[0]},
                       ", expected less than ", CIFAR10::kClasses.size());
    labels.push_back(record[0]);
    pixels.insert(pixels.end(), record.begin() + 1, record.end());
  }
}

}  // namespace

CIFAR10::CIFAR10(const std::string& folder, Split split) {
  std::vector<uint8_t> pixels, labels;
  for (const std::string& file : files_of(split))
    read_records(
        find_file(folder, file, "unpack cifar-10-binary.tar.gz (https://www.cs.toronto.edu/~kriz/cifar.html) there"),
        pixels, labels);
  labels_ = NDArray::from_vector(labels);
  pixels_ = NDArray::from_vector(pixels, {labels_.numel(), 3, 32, 32});
}

Batch CIFAR10::make(std::span<const int64_t> indices, const Generator&) const {
  NDArray images({std::ssize(indices), 3, 32, 32}), labels({std::ssize(indices)}, DType::int64);
  auto* out = images.data<float>();
  for (size_t i = 0; i < indices.size(); ++i) {
    labels.data<int64_t>()[i] = labels_.data<uint8_t>()[indices[i]];
    const uint8_t* pixels = pixels_.data<uint8_t>() + indices[i] * static_cast<int64_t>(kPixels);
    for (size_t p = 0; p < kPixels; ++p) *out++ = static_cast<float>(pixels[p]) / 255;
  }
  return Batch({{"image", std::move(images)}, {"label", std::move(labels)}});
}

}  // namespace thimble::data
