#include <filesystem>
#include <utility>

#include <thimble/core/text.h>
#include <thimble/nn/data/find_file.h>
#include <thimble/nn/data/idx.h>
#include <thimble/nn/data/mnist.h>

namespace thimble::data {

namespace {

constexpr int kDigits = 10, kAnyByte = 256;

// `begin` is how the names of both files begin.
ImageDataset read_pair(const std::string& folder, const std::string& begin, int most_classes,
                       const Preprocessing& preprocessing, const std::string& remedy) {
  const std::string images_path = find_file(folder, begin + "-images-idx3-ubyte", remedy);
  const std::string labels_path = find_file(folder, begin + "-labels-idx1-ubyte", remedy);
  const std::string images_name = detail::quote_path(images_path), labels_name = detail::quote_path(labels_path);
  NDArray images = read_idx(images_path);
  check<FormatError>(images.dtype() == DType::uint8 && images.ndim() == 3 && images.numel() > 0, images_name,
                     ": holds ", describe(images), ", expected images uint8[n,height,width]");
  NDArray labels = read_idx(labels_path);
  check<FormatError>(labels.dtype() == DType::uint8 && labels.ndim() == 1, labels_name, ": holds ", describe(labels),
                     ", expected labels uint8[n]");
  check<FormatError>(images.shape(0) == labels.numel(), labels_name, ": holds ", labels.numel(), " labels for the ",
                     images.shape(0), " images in ", images_name);
  for (int64_t i = 0; i < labels.numel(); ++i) {
    const int label = labels.data<uint8_t>()[i];
    check<FormatError>(label < most_classes, labels_name, ": label ", i, " is ", label, ", expected less than ",
                       most_classes);
  }
  return {std::move(images), std::move(labels), preprocessing};
}

// Of a folder, or of a path with which names begin.
ImageDataset read_any(const std::string& path, Split split, const Preprocessing& preprocessing) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  const bool is_folder = fs::is_directory(path, ignored);
  const fs::path folder = is_folder ? fs::path(path) : fs::path(path).parent_path();
  const std::string names = is_folder ? "" : fs::path(path).filename().string() + "-";
  std::string begin = names + (split == Split::train ? "train" : "t10k");
  if (split == Split::test && fs::exists(folder / (names + "test-images-idx3-ubyte"), ignored)) begin = names + "test";
  if (split == Split::test && fs::exists(folder / (names + "test-images-idx3-ubyte.gz"), ignored))
    begin = names + "test";
  return read_pair(folder.empty() ? "." : folder.string(), begin, kAnyByte, preprocessing,
                   "pictures and labels are files of one beginning, train or t10k or test; what stands before that "
                   "belongs to the path: data/emnist-letters");
}

}  // namespace

MNIST::MNIST(const std::string& folder, Split split, const Preprocessing& preprocessing, const std::string& remedy)
    : ImageDataset(read_pair(folder, split == Split::train ? "train" : "t10k", kDigits, preprocessing, remedy)) {}

IdxImages::IdxImages(const std::string& path, Split split, const Preprocessing& preprocessing)
    : ImageDataset(read_any(path, split, preprocessing)) {}

}  // namespace thimble::data
