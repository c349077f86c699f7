#include <utility>

#include <thimble/core/text.h>
#include <thimble/nn/data/find_file.h>
#include <thimble/nn/data/idx.h>
#include <thimble/nn/data/mnist.h>

namespace thimble::data {

namespace {

constexpr int kDigits = 10;

ImageDataset read_mnist(const std::string& folder, Split split, const Preprocessing& preprocessing,
                        const std::string& remedy) {
  const std::string prefix = split == Split::train ? "train" : "t10k";
  const std::string images_path = find_file(folder, prefix + "-images-idx3-ubyte", remedy);
  const std::string labels_path = find_file(folder, prefix + "-labels-idx1-ubyte", remedy);
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
    check<FormatError>(label < kDigits, labels_name, ": label ", i, " is ", label, ", expected less than ", kDigits);
  }
  return {std::move(images), std::move(labels), preprocessing};
}

}  // namespace

MNIST::MNIST(const std::string& folder, Split split, const Preprocessing& preprocessing, const std::string& remedy)
    : ImageDataset(read_mnist(folder, split, preprocessing, remedy)) {}

}  // namespace thimble::data
