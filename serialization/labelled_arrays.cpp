#include <algorithm>
#include <string>

#include <thimble/core/text.h>
#include <thimble/nn/data/image_dataset.h>
#include <thimble/serialization/labelled_arrays.h>
#include <thimble/serialization/npz.h>

namespace thimble {

namespace {

namespace fs = std::filesystem;

struct ArrayNames {
  fs::path file;
  std::string inputs, labels;
};

ArrayNames arrays_of(const fs::path& path, data::Split split) {
  const std::string name = split == data::Split::train ? "train" : "test";
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) return {path, "x_" + name, "y_" + name};
  const fs::path file = path / (name + ".npz");
  check<IOError>(fs::exists(file, ignored), detail::quote_path(path), " has no ", name, ".npz: numpy.savez(\"", name,
                 ".npz\", x=inputs, y=classes) writes one");
  return {file, "x", "y"};
}

NDArray array_named(const NamedArrays& arrays, const std::string& name, const std::string& file) {
  std::string names;
  for (const auto& [other, array] : arrays) {
    if (other == name) return array;
    names += (names.empty() ? "" : ", ") + detail::quote(other);
  }
  throw FormatError(str(file, ": has no array ", detail::quote(name), ", but ", names.empty() ? "none at all" : names));
}

NDArray as_labels(const NDArray& array, const std::string& name) {
  const bool is_column = array.ndim() == 2 && array.shape(1) == 1;
  check<FormatError>(
      !is_floating_point(array.dtype()) && array.dtype() != DType::bool_ && (array.ndim() == 1 || is_column), name,
      " is ", describe(array), ", expected classes, integers [n]");
  NDArray labels = (is_column ? array.squeeze(1) : array).to(DType::int64).contiguous();
  const int64_t most = data::most_classes(labels.numel());
  for (int64_t i = 0; i < labels.numel(); ++i) {
    const int64_t label = labels.data<int64_t>()[i];
    check<FormatError>(label >= 0 && label < most, name, ": class ", i, " is ", label, ", expected 0 to ", most - 1,
                       " for ", labels.numel(), " examples");
  }
  return labels;
}

}  // namespace

int64_t LabelledArrays::num_classes() const {
  const int64_t* first = labels.data<int64_t>();
  return labels.numel() == 0 ? 0 : *std::max_element(first, first + labels.numel()) + 1;
}

LabelledArrays load_labelled_arrays(const fs::path& path, data::Split split) {
  const ArrayNames names = arrays_of(path, split);
  const std::string file = detail::quote_path(names.file);
  const NamedArrays arrays = load_npz(names.file);
  LabelledArrays loaded{array_named(arrays, names.inputs, file), {}, file + ": " + names.inputs};
  loaded.labels = as_labels(array_named(arrays, names.labels, file), str(file, ": ", names.labels));
  const NDArray& x = loaded.inputs;
  check<FormatError>(x.dtype() != DType::bool_ && x.ndim() >= 2 && x.numel() > 0, loaded.name, " is ", describe(x),
                     ", expected numbers [n, shape...]");
  check<FormatError>(x.shape(0) == loaded.labels.numel(), loaded.name, " is ", describe(x), ", and ", names.labels,
                     " has ", loaded.labels.numel(), " classes");
  return loaded;
}

NDArray as_pictures(const NDArray& x) {
  check<ShapeError>(x.ndim() == 3 || x.ndim() == 4, "pictures are [n, height, width] or [n, channels, height, width], ",
                    "got ", describe(x));
  if (x.ndim() == 3) return x.unsqueeze(1);
  const auto counts_channels = [](int64_t size) { return size == 1 || size == 3; };
  check<ShapeError>(counts_channels(x.shape(1)) || x.shape(2) <= 4 || x.shape(3) != 4, "pictures of 4 channels, ",
                    describe(x), ": if the last is transparency, x[..., :3] leaves it out");
  const bool is_last = !counts_channels(x.shape(1)) && counts_channels(x.shape(3));
  return is_last ? x.permute({0, 3, 1, 2}) : x;
}

}  // namespace thimble
