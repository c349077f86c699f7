#include "apps/own_datasets.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "apps/images_library.h"
#include "apps/numbers.h"
#include <thimble/core/text.h>
#include <thimble/nn/data/image_dataset.h>
#include <thimble/nn/data/tensor_dataset.h>
#include <thimble/serialization/checksums.h>
#include <thimble/serialization/labelled_arrays.h>

namespace thimble::apps {

namespace {

const char* kind_of(const NDArray& x) { return x.dtype() == DType::uint8 ? kPixels : kNumbers; }

// Others would be evaluated on another scale.
void check_kind(const LabelledArrays& arrays, const std::string& expected) {
  check<FormatError>(expected.empty() || expected == kind_of(arrays.inputs), arrays.name, " is ",
                     describe(arrays.inputs), ", and the model was made for ",
                     expected == kPixels ? "pixels, bytes (uint8) that are scaled to [0, 1]"
                                         : "numbers that are taken as they are, not bytes (uint8)");
}

void check_is_finite(const NDArray& x, const std::string& name) {
  const int64_t row = x.numel() / x.shape(0);
  const auto* first = x.data<float>();
  const auto* end = first + x.numel();
  const auto* wrong = std::find_if_not(first, end, [](float value) { return std::isfinite(value); });
  check<FormatError>(wrong == end, name, ": row ", (wrong - first) / row, " has ", wrong == end ? 0 : *wrong,
                     " as float32, expected finite numbers");
}

// Without pictures, all that is to be done is to flatten them.
NamedDataset named_features(const LabelledArrays& arrays, const Preparation& preparation) {
  const data::Preprocessing& p = preparation.images;
  check<ValueError>(p.crop == 0 && p.pad == 0 && p.mean == 0 && p.std == 1 && p.channel_mean.empty(),
                    "only pictures of bytes can be cropped and normalized, and the arrays hold ",
                    arrays.inputs.dtype());
  NDArray x = arrays.inputs.to(DType::float32).contiguous();
  check_is_finite(x, arrays.name);
  const int64_t n = x.shape(0);
  if (p.flatten)
    x = x.reshape({n, x.numel() / n});
  else
    x = as_pictures(x).contiguous();
  const uint32_t sum = detail::crc32_of(arrays.labels, detail::crc32_of(x));
  return {.examples = std::make_shared<data::TensorDataset>(
              data::Batch::Fields{{"x", Tensor(x)}, {"label", Tensor(arrays.labels)}}),
          .input_shape = x.slice(0, 0, 1).squeeze(0).shape(),
          .classes = arrays.num_classes(),
          .checksum = str(with_commas(n), " examples, checksum ", sum)};
}

// Rows of bytes are pictures of one line.
NDArray as_pixels(const NDArray& x) {
  if (x.ndim() == 3 || x.ndim() == 4) return as_pictures(x).contiguous();
  return x.contiguous().reshape({x.shape(0), 1, 1, x.numel() / x.shape(0)});
}

}  // namespace

NamedDataset named_images(const std::shared_ptr<const data::Dataset>& dataset, int64_t classes) {
  const auto images = std::dynamic_pointer_cast<const data::ImageDataset>(dataset);
  check(images != nullptr, "no pictures");
  const uint32_t sum = detail::crc32_of(images->labels(), detail::crc32_of(images->pixels()));
  return {.examples = images,
          .input_shape = images->image_shape(),
          .classes = std::max(images->num_classes(), classes),
          .checksum = str(with_commas(images->size()), " images, checksum ", sum)};
}

void check_takes_no_texts(const Preparation& preparation) {
  check<ValueError>(preparation.vocabulary == nullptr,
                    "the model was trained on texts, and these are images; name another --dataset");
}

NamedDataset open_arrays(const std::string& path, data::Split split, const Preparation& preparation) {
  check_takes_no_texts(preparation);
  const LabelledArrays arrays = load_labelled_arrays(path, split);
  check_kind(arrays, preparation.arrays);
  const bool are_pixels = arrays.inputs.dtype() == DType::uint8;
  NamedDataset opened = are_pixels ? named_images(std::make_shared<data::ImageDataset>(
                                                      as_pixels(arrays.inputs), arrays.labels, preparation.images),
                                                  arrays.num_classes())
                                   : named_features(arrays, preparation);
  opened.arrays = kind_of(arrays.inputs);
  return opened;
}

int64_t channels_of_arrays(const std::string& path) {
  const NDArray x = load_labelled_arrays(path, data::Split::train).inputs;
  return x.dtype() == DType::uint8 ? as_pixels(x).shape(1) : 1;
}

NamedDataset open_folder(const std::string& folder, data::Split split, const Preparation& preparation) {
  check_takes_no_texts(preparation);
  const std::string name = split == data::Split::train ? "train" : "test";
  const std::filesystem::path path = std::filesystem::path(folder) / name;
  std::error_code ignored;
  check<IOError>(std::filesystem::is_directory(path, ignored), detail::quote_path(folder), " has no folder ", name,
                 ": put pictures there, PNG or JPEG, in a folder for each class: ", name, "/CLASS/NAME.png");
  data::ImageFolderOptions options{
      .size = preparation.image_size, .classes = preparation.classes, .preprocessing = preparation.images};
  options.remedy = "; --image-size N makes them all N x N";
  std::vector<std::string> classes;
  const auto images = open_image_folder(path.string(), options, classes);
  NamedDataset opened = named_images(images, std::ssize(classes));
  opened.class_names = std::move(classes);
  return opened;
}

}  // namespace thimble::apps
