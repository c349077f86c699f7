#include "apps/images.h"

#include "apps/datasets.h"
#include "apps/warning.h"
#include <thimble/core/text.h>
#include <thimble/nn/graph/sample.h>

namespace thimble::apps {

namespace {

// None for a model of several inputs, or whose file does not say.
std::optional<Shape> image_shape(const LoadedModel& model) {
  const auto inputs = model.graph.inputs();
  const auto sample = inputs.size() == 1 ? nn::sample_of(*inputs[0]) : std::nullopt;
  return sample ? sample->shape : model.need_notes().input_shape;
}

void check_shape(const Shape& shape, const Shape& expected, const std::string& dataset) {
  check<ShapeError>(shape == expected, "the model takes images ", expected, ", but those of ", dataset,
                    ", prepared as its notes say, are ", shape);
}

}  // namespace

void DataOptions::add_to(CLI::App& command) {
  command.add_option("--dataset", dataset, "Dataset [what the model was trained on]")
      ->check(CLI::IsMember(dataset_names()));
  command.add_option("--data", folder, "Folder, or file, of the dataset [the dataset's usual one]")
      ->type_name("DIR|FILE");
}

std::string Images::problem() const {
  try {
    model_.need_notes();
    check_dataset_name(dataset());
    return "";
  } catch (const Error& e) {
    return e.what();
  }
}

const std::string& Images::dataset() const {
  const std::string& name = options_.dataset.empty() ? model_.need_notes().dataset : options_.dataset;
  check<ValueError>(!name.empty(), detail::quote_path(model_.path),
                    " does not say what it was trained on; name a dataset by --dataset");
  return name;
}

std::shared_ptr<const data::Dataset> Images::open(data::Split split) const {
  const Notes& notes = model_.need_notes();
  const auto expected = notes.preparation.vocabulary ? std::nullopt : image_shape(model_);
  // Before any is read, where that is known.
  if (const auto& size = notes.preparation.image_size; size && expected && dataset() == "folder")
    check_shape(notes.preparation.images.output_shape(size->height, size->width), *expected, dataset());
  const NamedDataset opened = open_dataset(dataset(), options_.folder, split, notes.preparation);
  if (expected) check_shape(opened.input_shape, *expected, dataset());
  if (!warned_) warn_of_other_data(opened.checksum, split);
  return opened.examples;
}

void Images::warn_of_other_data(const std::string& checksum, data::Split split) const {
  const Notes& notes = *model_.notes;
  const std::string name = detail::quote_path(model_.path);
  const std::string& noted = split == data::Split::train ? notes.train_data : notes.test_data;
  if (!notes.dataset.empty() && notes.dataset != dataset())
    warn(str(name, " was trained on ", notes.dataset, ", not on ", dataset(), ", whose labels mean something else"));
  else if (!noted.empty() && checksum != noted)
    warn(str(name, " was trained with other data than this ", dataset(), ": its had ", noted, ", this has ", checksum));
  else
    return;
  warned_ = true;
}

}  // namespace thimble::apps
