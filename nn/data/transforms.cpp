#include <algorithm>
#include <cmath>
#include <numbers>

#include <thimble/nn/data/stack_examples.h>
#include <thimble/nn/data/transforms.h>

namespace thimble::data {

namespace {

// A contiguous image, [c, h, w] float32.
struct Image {
  int64_t channels, height, width;
  NDArray array;
  const float* pixels;  // of the array, which looks at its type whenever it is asked

  Image(const char* transform, const NDArray& x) {
    check<ShapeError>(x.ndim() == 3, transform, ": expects an image [channels, height, width], got ", x.shape());
    check<DTypeError>(x.dtype() == DType::float32, transform, ": expects a float32 image, got ", x.dtype());
    channels = x.shape(0), height = x.shape(1), width = x.shape(2);
    array = x.contiguous();
    pixels = array.data<float>();
  }
  const float* row(int64_t c, int64_t y) const { return pixels + (c * height + y) * width; }
  // Whether between_pixels() has four pixels there.
  bool has_all_around(double y, double x) const {
    return channels > 0 && y >= 0 && x >= 0 && y < static_cast<double>(height - 1) &&
           x < static_cast<double>(width - 1);
  }
  // The same number where it has, of each channel, which go to `to` and every `step` elements on.
  void between_own_pixels(double y, double x, float* to, int64_t step) const {
    const auto top = static_cast<int64_t>(y), left = static_cast<int64_t>(x);
    const auto down = static_cast<float>(y - static_cast<double>(top));
    const auto right = static_cast<float>(x - static_cast<double>(left));
    const float* at = row(0, top) + left;
    for (int64_t c = 0; c < channels; ++c, at += step, to += step) {
      const float upper = at[0] * (1 - right) + at[1] * right;
      const float lower = at[width] * (1 - right) + at[width + 1] * right;
      *to = upper * (1 - down) + lower * down;
    }
  }
  // Bilinear, of pixels outside that are `fill`.
  float between_pixels(int64_t c, double y, double x, float fill) const {
    const double top = std::floor(y), left = std::floor(x);
    const auto pixel = [&](double py, double px) {
      const bool is_inside = py >= 0 && py < static_cast<double>(height) && px >= 0 && px < static_cast<double>(width);
      return is_inside ? row(c, static_cast<int64_t>(py))[static_cast<int64_t>(px)] : fill;
    };
    const auto down = static_cast<float>(y - top), right = static_cast<float>(x - left);
    const float upper = pixel(top, left) * (1 - right) + pixel(top, left + 1) * right;
    const float lower = pixel(top + 1, left) * (1 - right) + pixel(top + 1, left + 1) * right;
    return upper * (1 - down) + lower * down;
  }
};

// A number of 0 to n.
int64_t up_to(int64_t n, Generator& random) { return static_cast<int64_t>(random.below(static_cast<uint64_t>(n) + 1)); }

double between(double low, double high, Generator& random) { return low + (high - low) * random.uniform(); }

// The logarithm of Gamma(shape, 1), by Marsaglia and Tsang (2000). Of a small shape it may be below all floats.
double log_gamma_number(double shape, Generator& random) {
  if (shape < 1) return log_gamma_number(shape + 1, random) + std::log(1 - random.uniform()) / shape;
  const double d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
  for (;;) {
    const double x = random.normal(), v = std::pow(1 + c * x, 3);
    if (v > 0 && std::log(1 - random.uniform()) < 0.5 * x * x + d - d * v + d * std::log(v)) return std::log(d * v);
  }
}

}  // namespace

Transformed::Transformed(std::shared_ptr<const Dataset> dataset, std::string field, std::vector<Transform> transforms)
    : dataset_(std::move(dataset)), field_(std::move(field)), transforms_(std::move(transforms)) {
  check<ValueError>(dataset_ != nullptr, "transformed: of no dataset");
  for (const Transform& transform : transforms_)
    check<ValueError>(transform != nullptr, "transformed: a transform is empty");
}

// What is below may be transformed, too, and draws from another stream.
Batch Transformed::make(std::span<const int64_t> indices, const Generator& random) const {
  Batch batch = dataset_->batch(indices, random.split(0));
  const Generator own = random.split(1);
  const NDArray examples = batch[field_].data().contiguous();
  std::vector<NDArray> transformed;
  for (size_t i = 0; i < indices.size(); ++i) {
    Generator of_example = own.split(static_cast<uint64_t>(indices[i]));
    const auto row = static_cast<int64_t>(i);
    NDArray x = examples.slice(0, row, row + 1).squeeze(0);
    for (const Transform& transform : transforms_) x = transform(x, of_example);
    transformed.push_back(std::move(x));
  }
  if (!transformed.empty()) batch.set(field_, stack_examples(transformed, indices, field_));
  return batch;
}

RandomCrop::RandomCrop(Pair size, const RandomCropOptions& options) : size_(size), options_(options) {
  check<ValueError>(size.height > 0 && size.width > 0, "random crop: of ", size.height, " x ", size.width, " pixels");
  check<ValueError>(options.padding >= 0, "random crop: padding ", options.padding, " is negative");
}

NDArray RandomCrop::operator()(const NDArray& x, Generator& random) const {
  const Image image("random crop", x);
  const auto [height, width] = size_;
  const auto [padding, fill] = options_;
  const int64_t most_down = image.height + 2 * padding - height, most_right = image.width + 2 * padding - width;
  check<ShapeError>(most_down >= 0 && most_right >= 0, "random crop: an image ", x.shape(), " with padding of ",
                    padding, " has no part of ", height, " x ", width, " pixels");
  const int64_t top = up_to(most_down, random) - padding, left = up_to(most_right, random) - padding;
  const int64_t first = std::clamp<int64_t>(-left, 0, width);
  const int64_t last = std::clamp<int64_t>(image.width - left, first, width);
  NDArray out({image.channels, height, width});
  float* to = out.data<float>();
  for (int64_t c = 0; c < image.channels; ++c)
    for (int64_t y = top; y < top + height; ++y, to += width) {
      const bool is_inside = y >= 0 && y < image.height;
      const int64_t begin = is_inside ? first : width, end = is_inside ? last : width;
      std::fill_n(to, begin, fill);
      if (is_inside) std::copy_n(image.row(c, y) + left + begin, end - begin, to + begin);
      std::fill_n(to + end, width - end, fill);
    }
  return out;
}

RandomHorizontalFlip::RandomHorizontalFlip(double p) : p_(p) {
  check<ValueError>(p >= 0 && p <= 1, "random horizontal flip: p ", p, " is no probability");
}

NDArray RandomHorizontalFlip::operator()(const NDArray& x, Generator& random) const {
  const Image image("random horizontal flip", x);
  if (random.uniform() >= p_) return x;
  NDArray out(x.shape());
  float* to = out.data<float>();
  for (int64_t c = 0; c < image.channels; ++c)
    for (int64_t y = 0; y < image.height; ++y, to += image.width)
      std::reverse_copy(image.row(c, y), image.row(c, y) + image.width, to);
  return out;
}

// Each output pixel looks where it comes from: back by the shift, then rotated back about the middle.
NDArray affine(const NDArray& x, double degrees, double right, double down, float fill) {
  const Image image("affine", x);
  check<ValueError>(std::isfinite(degrees) && std::isfinite(right) && std::isfinite(down), "affine: by ", degrees,
                    " degrees, ", right, " and ", down, " pixels");
  const double angle = degrees * std::numbers::pi / 180, cosine = std::cos(angle), sine = std::sin(angle);
  const int64_t plane = image.height * image.width;
  const double middle_x = static_cast<double>(image.width - 1) / 2;
  const double middle_y = static_cast<double>(image.height - 1) / 2;
  NDArray out(x.shape());
  float* to = out.data<float>();
  for (int64_t row = 0; row < image.height; ++row)
    for (int64_t column = 0; column < image.width; ++column, ++to) {
      const double dx = static_cast<double>(column) - middle_x - right, dy = static_cast<double>(row) - middle_y - down;
      const double from_x = cosine * dx + sine * dy + middle_x, from_y = -sine * dx + cosine * dy + middle_y;
      if (image.has_all_around(from_y, from_x)) {
        image.between_own_pixels(from_y, from_x, to, plane);
        continue;
      }
      for (int64_t c = 0; c < image.channels; ++c) to[c * plane] = image.between_pixels(c, from_y, from_x, fill);
    }
  return out;
}

RandomAffine::RandomAffine(const RandomAffineOptions& o) : options_(o) {
  check<ValueError>(o.degrees >= 0 && std::isfinite(o.degrees), "random affine: degrees ", o.degrees);
  for (const double shift : {o.shift_x, o.shift_y})
    check<ValueError>(shift >= 0 && shift <= 1, "random affine: a shift by ", shift, " of the image, expected 0 to 1");
}

NDArray RandomAffine::operator()(const NDArray& x, Generator& random) const {
  const Image image("random affine", x);
  const RandomAffineOptions& o = options_;
  const auto pixels = [&](double shift, int64_t size) {
    return std::round(between(-shift, shift, random) * static_cast<double>(size));
  };
  const double degrees = between(-o.degrees, o.degrees, random);
  const double right = pixels(o.shift_x, image.width), down = pixels(o.shift_y, image.height);
  return affine(x, degrees, right, down, o.fill);
}

Cutout::Cutout(int64_t size, float fill) : size_(size), fill_(fill) {
  check<ValueError>(size > 0, "cutout: a square of ", size, " pixels");
}

NDArray Cutout::operator()(const NDArray& x, Generator& random) const {
  const Image image("cutout", x);
  NDArray out = image.array.clone();
  if (out.numel() == 0) return out;
  const int64_t top = up_to(image.height - 1, random) - size_ / 2, left = up_to(image.width - 1, random) - size_ / 2;
  const int64_t first = std::max<int64_t>(left, 0), last = std::min(left + size_, image.width);
  auto* pixels = out.data<float>();
  for (int64_t c = 0; c < image.channels; ++c)
    for (int64_t y = std::max<int64_t>(top, 0); y < std::min(top + size_, image.height); ++y)
      std::fill_n(pixels + (c * image.height + y) * image.width + first, last - first, fill_);
  return out;
}

Normalize::Normalize(std::vector<float> mean, std::vector<float> std) : mean_(std::move(mean)), std_(std::move(std)) {
  check<ValueError>(!mean_.empty() && mean_.size() == std_.size(), "normalize: ", mean_.size(), " means and ",
                    std_.size(), " standard deviations");
  for (const float s : std_) check<ValueError>(s > 0 && std::isfinite(s), "normalize: a standard deviation of ", s);
  for (const float m : mean_) check<ValueError>(std::isfinite(m), "normalize: a mean of ", m);
}

NDArray Normalize::operator()(const NDArray& x, Generator&) const {
  const Image image("normalize", x);
  check<ShapeError>(mean_.size() == 1 || std::ssize(mean_) == image.channels, "normalize: ", mean_.size(),
                    " means for an image ", x.shape());
  NDArray out(x.shape());
  const int64_t pixels = image.height * image.width;
  for (int64_t c = 0; c < image.channels; ++c) {
    const size_t own = mean_.size() == 1 ? 0 : static_cast<size_t>(c);
    const float mean = mean_[own], std = std_[own];
    std::transform(image.row(c, 0), image.row(c, 0) + pixels, out.data<float>() + c * pixels,
                   [mean, std](float v) { return (v - mean) / std; });
  }
  return out;
}

MixUp::MixUp(double alpha, int64_t classes) : alpha_(alpha), classes_(classes) {
  check<ValueError>(alpha > 0 && std::isfinite(alpha), "mixup: alpha ", alpha, " is not positive");
  check<ValueError>(classes >= 2, "mixup: of ", classes, " classes");
}

void MixUp::operator()(Batch& batch, Generator& random) const {
  const auto& [inputs, targets] = batch;
  const NDArray x = inputs.data().contiguous(), labels = targets.data().contiguous();
  check<DTypeError>(x.dtype() == DType::float32 && labels.dtype() == DType::int64,
                    "mixup: expects float32 inputs and int64 classes, got ", x.dtype(), " and ", labels.dtype());
  check<ShapeError>(labels.ndim() == 1, "mixup: expects classes [n], got ", labels.shape());
  const double a = log_gamma_number(alpha_, random), b = log_gamma_number(alpha_, random);
  const auto lambda = static_cast<float>(1 / (1 + std::exp(b - a)));  // a / (a + b) of those
  const std::vector<int64_t> other = random.permutation(batch.size());
  NDArray mixed(x.shape()), probabilities = NDArray::zeros({batch.size(), classes_});
  const int64_t row = batch.size() == 0 ? 0 : x.numel() / batch.size();
  for (int64_t i = 0; i < batch.size(); ++i) {
    const int64_t j = other[static_cast<size_t>(i)];
    const float *own = x.data<float>() + i * row, *its = x.data<float>() + j * row;
    std::transform(own, own + row, its, mixed.data<float>() + i * row,
                   [lambda](float p, float q) { return lambda * p + (1 - lambda) * q; });
    for (const auto& [example, part] : {std::pair(i, lambda), std::pair(j, 1 - lambda)}) {
      const int64_t label = labels.data<int64_t>()[example];
      check<ValueError>(label >= 0 && label < classes_, "mixup: class ", label, " of ", classes_);
      probabilities.data<float>()[i * classes_ + label] += part;
    }
  }
  batch = Batch({{batch.fields()[0].first, std::move(mixed)}, {batch.fields()[1].first, std::move(probabilities)}});
}

}  // namespace thimble::data
