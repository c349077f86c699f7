#include <algorithm>
#include <cstring>

#include <thimble/core/text.h>
#include <thimble/nn/data/find_file.h>
#include <thimble/nn/data/idx.h>
#include <thimble/nn/data/mnist.h>

namespace thimble::data {

namespace {

constexpr int kClasses = 10;

}  // namespace

MNIST::MNIST(const std::string& folder, Split split, const Preprocessing& preprocessing, const std::string& remedy)
    : preprocessing_(preprocessing) {
  const std::string prefix = split == Split::train ? "train" : "t10k";
  const std::string images = find_file(folder, prefix + "-images-idx3-ubyte", remedy);
  const std::string labels = find_file(folder, prefix + "-labels-idx1-ubyte", remedy);
  const std::string images_name = detail::quote_path(images), labels_name = detail::quote_path(labels);
  images_ = read_idx(images);
  check<FormatError>(images_.dtype() == DType::uint8 && images_.ndim() == 3 && images_.numel() > 0, images_name,
                     ": holds ", describe(images_), ", expected images uint8[n,height,width]");
  labels_ = read_idx(labels);
  check<FormatError>(labels_.dtype() == DType::uint8 && labels_.ndim() == 1, labels_name, ": holds ", describe(labels_),
                     ", expected labels uint8[n]");
  check<FormatError>(images_.shape(0) == labels_.numel(), labels_name, ": holds ", labels_.numel(), " labels for the ",
                     images_.shape(0), " images in ", images_name);
  for (int64_t i = 0; i < labels_.numel(); ++i) {
    const int label = labels_.data<uint8_t>()[i];
    check<FormatError>(label < kClasses, labels_name, ": label ", i, " is ", label, ", expected less than ", kClasses);
  }
  image_shape_ = preprocessing_.output_shape(images_.shape(1), images_.shape(2));
  for (int pixel = 0; pixel < 256; ++pixel)
    value_of_pixel_[static_cast<size_t>(pixel)] = preprocessing_.value_of(pixel);
}

Batch MNIST::make(std::span<const int64_t> indices, const Generator&) const {
  Shape shape = image_shape_;
  shape.insert(0, std::ssize(indices));
  NDArray images(shape), labels({shape[0]}, DType::int64);
  const int64_t picture = images_.shape(1) * images_.shape(2);
  const auto channel = static_cast<size_t>(image_shape_.numel() / preprocessing_.channels);
  auto* out = images.data<float>();
  for (size_t i = 0; i < indices.size(); ++i) {
    labels.data<int64_t>()[i] = labels_.data<uint8_t>()[indices[i]];
    const float* first = out;
    write_channel(images_.data<uint8_t>() + indices[i] * picture, out);
    out += channel;
    for (int64_t c = 1; c < preprocessing_.channels; ++c, out += channel)
      std::memcpy(out, first, channel * sizeof(float));
  }
  return Batch({{"image", std::move(images)}, {"label", std::move(labels)}});
}

void MNIST::write_channel(const uint8_t* pixels, float* out) const {
  const int64_t height = images_.shape(1), width = images_.shape(2), pad = preprocessing_.pad;
  const int64_t h = preprocessing_.crop ? preprocessing_.crop : height;
  const int64_t w = preprocessing_.crop ? preprocessing_.crop : width;
  const float black = value_of_pixel_[0];
  pixels += (height - h) / 2 * width + (width - w) / 2;
  out = std::fill_n(out, pad * (w + 2 * pad), black);
  for (int64_t y = 0; y < h; ++y, pixels += width) {
    out = std::fill_n(out, pad, black);
    for (int64_t x = 0; x < w; ++x) out[x] = value_of_pixel_[pixels[x]];
    out = std::fill_n(out + w, pad, black);
  }
  std::fill_n(out, pad * (w + 2 * pad), black);
}

}  // namespace thimble::data
