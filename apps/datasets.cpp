#include "apps/datasets.h"

#include <algorithm>

#include "apps/numbers.h"
#include <thimble/core/text.h>
#include <thimble/nn/data/dataloader.h>
#include <thimble/serialization/checksums.h>

namespace thimble::apps {

namespace {

template <typename T>
std::unique_ptr<data::MNIST> open(const std::string& folder, data::Split split, const data::Preprocessing& p) {
  return std::make_unique<T>(folder, split, p);
}

struct Entry {
  std::string name, folder;
  decltype(&open<data::MNIST>) open;
};

const std::vector<Entry>& entries() {
  static const std::vector<Entry> entries{{"mnist", "data/mnist", open<data::MNIST>},
                                          {"fashion-mnist", data::FashionMNIST::kFolder, open<data::FashionMNIST>}};
  return entries;
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
  std::string known;
  for (const std::string& each : dataset_names()) known += (known.empty() ? "" : ", ") + each;
  throw ValueError(str("unknown dataset ", detail::quote(name), "; there are: ", known));
}

std::unique_ptr<data::MNIST> open_dataset(const std::string& name, const std::string& folder, data::Split split,
                                          const data::Preprocessing& preprocessing) {
  check_dataset_name(name);
  const Entry& entry = *std::ranges::find(entries(), name, &Entry::name);
  return entry.open(folder.empty() ? entry.folder : folder, split, preprocessing);
}

std::string checksum_text(const data::MNIST& dataset) {
  const uint32_t sum = detail::crc32_of(dataset.labels(), detail::crc32_of(dataset.pixels()));
  return str(with_commas(dataset.size()), " images, checksum ", sum);
}

std::string fingerprint(const data::Dataset& dataset) {
  data::DataLoader loader(dataset, {.batch_size = 1000});
  uint32_t sum = 0;
  for (const data::Batch& batch : loader)
    for (const auto& [name, tensor] : batch.fields()) sum = detail::crc32_of(tensor.data(), sum);
  const Shape image = dataset.example().data().squeeze(0).shape();
  return str(dataset.size(), " images ", image, ", checksum ", sum);
}

}  // namespace thimble::apps
