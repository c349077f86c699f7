#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include <thimble/nn/data/image_dataset.h>

namespace thimble::data {

namespace {

// Checks the labels, too.
int64_t classes_in(const NDArray& labels) {
  int64_t largest = 0;
  const int64_t most = most_classes(labels.numel());
  const std::vector<int64_t> all = labels.to_vector<int64_t>();
  for (size_t i = 0; i < all.size(); ++i) {
    check<ValueError>(all[i] >= 0 && all[i] < most, "ImageDataset: label ", i, " is ", all[i], ", expected 0 to ",
                      most - 1);
    largest = std::max(largest, all[i]);
  }
  return largest + 1;
}

}  // namespace

ImageDataset::ImageDataset(NDArray pixels, NDArray labels, const Preprocessing& preprocessing)
    : pixels_(pixels.contiguous()), labels_(labels.contiguous()), preprocessing_(preprocessing) {
  check<DTypeError>(pixels_.dtype() == DType::uint8, "ImageDataset: pixels are ", pixels_.dtype(), ", expected uint8");
  check<DTypeError>(labels_.dtype() == DType::uint8 || labels_.dtype() == DType::int64, "ImageDataset: labels are ",
                    labels_.dtype(), ", expected uint8 or int64");
  check<ShapeError>(
      (pixels_.ndim() == 3 || pixels_.ndim() == 4) && labels_.ndim() == 1 && labels_.shape(0) == pixels_.shape(0),
      "ImageDataset: pixels are of shape ", pixels_.shape(), " and labels ", labels_.shape(),
      ", expected [n, height, width] or [n, channels, height, width] and [n]");
  check<ValueError>(pixels_.numel() > 0, "ImageDataset: there are no pictures");
  channels_ = pixels_.ndim() == 4 ? pixels_.shape(1) : 1;
  height_ = pixels_.shape(-2);
  width_ = pixels_.shape(-1);
  check<ValueError>(channels_ == 1 || preprocessing_.channels == channels_, "preprocessing: channels is ",
                    preprocessing_.channels, ", and the pictures have ", channels_);
  num_classes_ = classes_in(labels_);
  image_shape_ = preprocessing_.output_shape(height_, width_);
  values_of_pixel_.resize(std::max<size_t>(preprocessing_.channel_mean.size(), 1));
  for (size_t c = 0; c < values_of_pixel_.size(); ++c)
    for (int pixel = 0; pixel < 256; ++pixel)
      values_of_pixel_[c][static_cast<size_t>(pixel)] = preprocessing_.value_of(pixel, static_cast<int64_t>(c));
}

Batch ImageDataset::make(std::span<const int64_t> indices, const Generator&) const {
  Shape shape = image_shape_;
  shape.insert(0, std::ssize(indices));
  NDArray images(shape), labels({shape[0]}, DType::int64);
  auto* out = images.data<float>();
  for (size_t i = 0; i < indices.size(); ++i) {
    labels.data<int64_t>()[i] =
        labels_.dtype() == DType::uint8 ? labels_.data<uint8_t>()[indices[i]] : labels_.data<int64_t>()[indices[i]];
    out = write_picture(pixels_.data<uint8_t>() + indices[i] * channels_ * height_ * width_, out);
  }
  return Batch({{"image", std::move(images)}, {"label", std::move(labels)}});
}

float* ImageDataset::write_picture(const uint8_t* pixels, float* out) const {
  const float* first = out;
  const bool alike = values_of_pixel_.size() == 1;
  const int64_t written = alike ? channels_ : preprocessing_.channels;
  for (int64_t c = 0; c < written; ++c)
    out = write_channel(pixels + (channels_ == 1 ? 0 : c) * height_ * width_,
                        values_of_pixel_[alike ? 0 : static_cast<size_t>(c)], out);
  const auto size = static_cast<size_t>(out - first);
  for (int64_t c = written; c < preprocessing_.channels; ++c, out += size)  // of a grey one
    std::memcpy(out, first, size * sizeof(float));
  return out;
}

float* ImageDataset::write_channel(const uint8_t* pixels, const std::array<float, 256>& value_of_pixel,
                                   float* out) const {
  const int64_t pad = preprocessing_.pad;
  const int64_t h = preprocessing_.crop ? preprocessing_.crop : height_;
  const int64_t w = preprocessing_.crop ? preprocessing_.crop : width_;
  const float black = value_of_pixel[0];
  pixels += (height_ - h) / 2 * width_ + (width_ - w) / 2;
  out = std::fill_n(out, pad * (w + 2 * pad), black);
  for (int64_t y = 0; y < h; ++y, pixels += width_) {
    out = std::fill_n(out, pad, black);
    for (int64_t x = 0; x < w; ++x) out[x] = value_of_pixel[pixels[x]];
    out = std::fill_n(out + w, pad, black);
  }
  return std::fill_n(out, pad * (w + 2 * pad), black);
}

// From counts, so that sums are exact: integers below 2^53 for 10^11 pixels.
ImageDataset::Moments ImageDataset::channel_moments() const {
  Moments moments;
  const int64_t pixels = height_ * width_;
  for (int64_t c = 0; c < channels_; ++c) {
    std::array<int64_t, 256> counts{};
    for (int64_t i = 0; i < size(); ++i) {
      const uint8_t* plane = pixels_.data<uint8_t>() + (i * channels_ + c) * pixels;
      for (int64_t p = 0; p < pixels; ++p) ++counts[plane[p]];
    }
    double sum = 0, squares = 0;
    for (int v = 0; v < 256; ++v) {
      const auto count = static_cast<double>(counts[static_cast<size_t>(v)]);
      sum += v * count, squares += v * v * count;
    }
    const auto n = static_cast<double>(size() * pixels);
    const double mean = sum / n, variance = squares / n - mean * mean;
    moments.mean.push_back(mean / 255);
    moments.std.push_back(variance > 0 ? std::sqrt(variance) / 255 : 1);
  }
  return moments;
}

}  // namespace thimble::data
