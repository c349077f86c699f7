#include "apps/input_arrays.h"

#include <algorithm>
#include <filesystem>

#include <thimble/core/text.h>
#include <thimble/nn/graph/sample.h>
#include <thimble/serialization/npy.h>
#include <thimble/serialization/npz.h>

namespace thimble::apps {

namespace {

struct InputFile {
  const nn::Node* input;
  std::string path;
};

std::string names_of(const std::vector<nn::Node*>& inputs) {
  std::string names;
  for (const nn::Node* input : inputs) names += (names.empty() ? "" : ", ") + detail::quote(input->name);
  return names;
}

// A file's name may hold an equals sign, as an input's may.
InputFile parse(const LoadedModel& model, const std::string& text) {
  const auto inputs = model.graph.inputs();
  for (const nn::Node* input : inputs)
    if (text.starts_with(input->name + '=')) return {input, text.substr(input->name.size() + 1)};
  std::error_code error;
  const bool is_file = !text.empty() && (text.find('=') == std::string::npos || std::filesystem::exists(text, error));
  check<ValueError>(inputs.size() == 1 && is_file, "--input ", detail::quote(text),
                    " is not of the form NAME=FILE.npy with one of the inputs of ", detail::quote_path(model.path),
                    ": ", names_of(inputs));
  return {inputs[0], text};
}

std::vector<InputFile> files_of(const LoadedModel& model, const std::vector<std::string>& texts) {
  std::vector<InputFile> given;
  for (const std::string& text : texts) given.push_back(parse(model, text));
  std::vector<InputFile> ordered;
  for (const nn::Node* input : model.graph.inputs()) {
    const auto count = std::ranges::count(given, input, &InputFile::input);
    check<ValueError>(count == 1, "the input ", detail::quote(input->name), " of ", detail::quote_path(model.path),
                      count == 0 ? " has no file" : " has two files", "; give --input ", input->name, "=FILE.npy once");
    ordered.push_back(*std::ranges::find(given, input, &InputFile::input));
  }
  return ordered;
}

// As the model takes it, as far as its file says.
Tensor as_input(const nn::Node& input, const NDArray& array, const std::string& file) {
  const auto sample = nn::sample_of(input);
  const int ndim = sample ? sample->shape.ndim() + 1 : array.ndim();
  check<ShapeError>(array.ndim() == ndim, detail::quote_path(file), " holds ", describe(array), ", but the input ",
                    detail::quote(input.name), " takes samples ", sample ? sample->shape : Shape(),
                    "; the array's first dimension counts them");
  if (!sample || array.dtype() == sample->dtype) return Tensor(array);
  check<DTypeError>(is_floating_point(sample->dtype) || !is_floating_point(array.dtype()), detail::quote_path(file),
                    " holds ", describe(array), ", but the input ", detail::quote(input.name), " takes ",
                    sample->dtype);
  return Tensor(array.to(sample->dtype));
}

NDArray samples_in(const nn::Node& input, const std::string& file) {
  if (!file.ends_with(".npz")) return load_npy(file);
  std::string names;
  for (const auto& [name, array] : load_npz(file)) {
    if (name == input.name) return array;
    names += (names.empty() ? "" : ", ") + detail::quote(name);
  }
  throw ValueError(str(detail::quote_path(file), " has no array named as the input, ", detail::quote(input.name),
                       ", but ", names.empty() ? "none at all" : names));
}

}  // namespace

std::vector<Tensor> input_arrays(const LoadedModel& model, const std::vector<std::string>& files) {
  std::vector<Tensor> arrays;
  for (const InputFile& file : files_of(model, files))
    arrays.push_back(as_input(*file.input, load_npy(file.path), file.path));
  return arrays;
}

std::vector<std::string> array_files(const LoadedModel& model, const std::vector<std::string>& files) {
  std::vector<std::string> paths;
  for (const InputFile& file : files_of(model, files)) paths.push_back(file.path);
  return paths;
}

std::vector<Tensor> sample_batches(const LoadedModel& model, const std::string& file, int64_t samples) {
  constexpr int64_t kBatch = 64;
  const auto inputs = model.graph.inputs();
  check<ValueError>(inputs.size() == 1, detail::quote_path(model.path), " has ", inputs.size(),
                    " inputs; so far, models of one input can be calibrated on arrays");
  const NDArray all = as_input(*inputs[0], samples_in(*inputs[0], file), file).data();
  const int64_t count = std::min(all.shape(0), samples);
  check<ValueError>(count > 0, detail::quote_path(file), " holds no samples: ", describe(all));
  std::vector<Tensor> batches;
  for (int64_t first = 0; first < count; first += kBatch)
    batches.emplace_back(all.slice(0, first, std::min(first + kBatch, count)));
  return batches;
}

}  // namespace thimble::apps
