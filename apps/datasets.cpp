#include "apps/datasets.h"

#include <algorithm>

#include "apps/joined.h"
#include "apps/numbers.h"
#include "apps/own_datasets.h"
#include <thimble/core/text.h>
#include <thimble/nn/data/cifar10.h>
#include <thimble/nn/data/dataloader.h>
#include <thimble/nn/data/find_file.h>
#include <thimble/nn/data/mnist.h>
#include <thimble/serialization/checksums.h>

namespace thimble::apps {

namespace {

using Open = NamedDataset (*)(const std::string& folder, data::Split split, const Preparation& preparation);

template <typename T, int64_t classes = 10>
NamedDataset open_images(const std::string& folder, data::Split split, const Preparation& preparation) {
  check_takes_no_texts(preparation);
  return named_images(std::make_shared<T>(folder, split, preparation.images), classes);
}

// Sentences of the Stanford Sentiment Treebank, and whether they are positive.
data::LabelledTexts read_sst2(const std::string& folder, data::Split split) {
  const std::string name = split == data::Split::train ? "train.tsv" : "dev.tsv";
  const std::string path =
      data::find_file(folder, name, "put SST-2 there, train.tsv and dev.tsv: lines of a sentence, a tab, and 0 or 1");
  data::LabelledTexts texts = data::read_labelled_texts(path);
  for (size_t i = 0; i < texts.labels.size(); ++i)
    check<FormatError>(texts.labels[i] <= 1, detail::quote_path(path), ": label ", i, " is ", texts.labels[i],
                       ", expected 0 or 1");
  return texts;
}

uint32_t checksum_of(const data::LabelledTexts& texts) {
  std::vector<uint8_t> lines;
  for (const std::string& text : texts.texts) {
    lines.insert(lines.end(), text.begin(), text.end());
    lines.push_back('\n');
  }
  return detail::crc32_of(NDArray::from_vector(texts.labels), detail::crc32_of(NDArray::from_vector(lines)));
}

NamedDataset open_texts(const std::string& folder, data::Split split, const Preparation& preparation) {
  check<ValueError>(preparation.vocabulary != nullptr,
                    "the model was not trained on texts: it has no vocabulary; name another --dataset");
  const data::LabelledTexts texts = read_sst2(folder, split);
  auto examples = std::make_shared<data::TextDataset>(texts, preparation.vocabulary);
  return {.examples = examples,
          .classes = 2,
          .checksum = str(with_commas(examples->size()), " texts, checksum ", checksum_of(texts))};
}

struct Entry {
  std::string name, folder;  // the usual one; empty: there is none
  std::string examples;
  int64_t channels;  // of pictures; 0: whatever they have
  Open open;
};

const std::vector<Entry>& entries() {
  static const std::vector<Entry> entries{
      {"mnist", "data/mnist", "images", 1, open_images<data::MNIST>},
      {"fashion-mnist", data::FashionMNIST::kFolder, "images", 1, open_images<data::FashionMNIST>},
      {"cifar10", "data/cifar10", "images", 3, open_images<data::CIFAR10>},
      {"sst2", "data/sst2", "texts", 0, open_texts},
      {"idx", "", "images", 1, open_images<data::IdxImages, 1>},
      {"npz", "", "examples", 0, open_arrays},
      {"folder", "", "images", 3, open_folder}};
  return entries;
}

const Entry& entry_of(const std::string& name) {
  check_dataset_name(name);
  return *std::ranges::find(entries(), name, &Entry::name);
}

bool is_of_texts(const Entry& entry) { return entry.examples == "texts"; }

const std::string& folder_of(const Entry& entry, const std::string& given) {
  const std::string& folder = given.empty() ? entry.folder : given;
  check<ValueError>(!folder.empty(), "--dataset ", entry.name, " is data of your own: --data says where it is");
  return folder;
}

}  // namespace

const std::vector<std::string>& dataset_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const Entry& entry : entries()) all.push_back(entry.name);
    return all;
  }();
  return names;
}

void check_dataset_name(const std::string& name) {
  if (std::ranges::count(dataset_names(), name) > 0) return;
  throw ValueError(str("unknown dataset ", detail::quote(name), "; there are: ", joined(dataset_names(), ", ")));
}

std::string examples_of(const std::string& dataset) { return entry_of(dataset).examples; }

int64_t channels_of(const std::string& dataset, const std::string& folder) {
  const Entry& entry = entry_of(dataset);
  return entry.channels > 0 ? entry.channels : channels_of_arrays(folder_of(entry, folder));
}

std::shared_ptr<const data::Vocabulary> vocabulary_of(const std::string& dataset, const std::string& folder,
                                                      int64_t most) {
  const Entry& entry = entry_of(dataset);
  if (!is_of_texts(entry)) return nullptr;
  const data::LabelledTexts train = read_sst2(folder_of(entry, folder), data::Split::train);
  return std::make_shared<data::Vocabulary>(data::Vocabulary::of(train.texts, most));
}

NamedDataset open_dataset(const std::string& name, const std::string& folder, data::Split split,
                          const Preparation& preparation) {
  const Entry& entry = entry_of(name);
  return entry.open(folder_of(entry, folder), split, preparation);
}

NamedDataset prepared(const NamedDataset& pictures, const Preparation& preparation) {
  const auto images = std::dynamic_pointer_cast<const data::ImageDataset>(pictures.examples);
  check<ValueError>(images != nullptr, "only pictures can be prepared otherwise");
  NamedDataset result = pictures;
  result.examples = std::make_shared<data::ImageDataset>(images->pixels(), images->labels(), preparation.images);
  return result;
}

std::string fingerprint(const data::Dataset& dataset) {
  data::DataLoader loader(dataset, {.batch_size = 1000});
  uint32_t sum = 0;
  for (const data::Batch& batch : loader)
    for (const auto& [name, tensor] : batch.fields()) sum = detail::crc32_of(tensor.data(), sum);
  const Tensor example = dataset.example();
  const char* called = example.dtype() == DType::int64 ? " texts " : " images ";
  return str(dataset.size(), called, example.data().squeeze(0).shape(), ", checksum ", sum);
}

}  // namespace thimble::apps
