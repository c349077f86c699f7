#include "apps/augmentation.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string_view>

#include <CLI/CLI.hpp>

#include "apps/joined.h"
#include <thimble/core/parallel.h>
#include <thimble/core/text.h>
#include <thimble/nn/data/image_dataset.h>

namespace thimble::apps {

namespace {

// A name of the list, the numbers that it takes, and the one that it has if none is given.
struct Augmenter {
  std::string_view name, amount_is;
  double low, high;
  bool is_whole;
  std::optional<double> usual;
};

constexpr Augmenter kAugmenters[] = {
    {"crop", "pixels of padding", 1, 4096, true, {}},  {"flip", "a probability", 0, 1, false, 0.5},
    {"rotate", "degrees", 0, 180, false, {}},          {"shift", "pixels", 1, 4096, true, {}},
    {"cutout", "pixels of a side", 1, 4096, true, {}}, {"mixup", "alpha", 1e-3, 1e3, false, {}}};

const Augmenter& augmenter_of(std::string_view name) {
  const auto* found = std::ranges::find(kAugmenters, name, &Augmenter::name);
  if (found != std::end(kAugmenters)) return *found;
  std::vector<std::string> names;
  for (const Augmenter& augmenter : kAugmenters) names.emplace_back(augmenter.name);
  throw ValueError(str("unknown name ", detail::quote(name), "; there are ", joined(names, ", ")));
}

double amount_of(const Augmenter& augmenter, std::string_view step) {
  if (step == augmenter.name && augmenter.usual) return *augmenter.usual;
  const std::string_view text = step.size() > augmenter.name.size() ? step.substr(augmenter.name.size() + 1) : "";
  double amount = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), amount);
  const bool is_number = error == std::errc() && end == text.data() + text.size() && amount >= augmenter.low &&
                         amount <= augmenter.high && (!augmenter.is_whole || amount == std::floor(amount));
  check<ValueError>(is_number, detail::quote(step), ", expected ", augmenter.name, ':', augmenter.is_whole ? "N" : "X",
                    ", ", augmenter.amount_is, " from ", augmenter.low, " to ", augmenter.high);
  return amount;
}

// Images [channels, height, width] as bytes make them, and what is to be done to them after all transforms.
struct Pictures {
  std::shared_ptr<const data::Dataset> dataset;
  std::vector<data::Transform> last;
};

Pictures pictures_of(const std::shared_ptr<const data::Dataset>& examples) {
  const auto images = std::dynamic_pointer_cast<const data::ImageDataset>(examples);
  if (!images) return {examples, {}};
  data::Preprocessing raw = images->preprocessing();
  const data::Preprocessing prepared =
      std::exchange(raw, data::Preprocessing{.crop = raw.crop, .pad = raw.pad, .channels = raw.channels});
  Pictures pictures{std::make_shared<data::ImageDataset>(images->pixels(), images->labels(), raw), {}};
  if (prepared.mean != 0 || prepared.std != 1 || !prepared.channel_mean.empty()) {
    const auto floats = [](double one, const std::vector<double>& each) {
      return each.empty() ? std::vector<float>{static_cast<float>(one)} : std::vector<float>(each.begin(), each.end());
    };
    pictures.last.emplace_back(
        data::Normalize(floats(prepared.mean, prepared.channel_mean), floats(prepared.std, prepared.channel_std)));
  }
  if (prepared.flatten)
    pictures.last.emplace_back([](const NDArray& x, Generator&) { return x.contiguous().reshape({x.numel()}); });
  return pictures;
}

}  // namespace

Augmentation::Augmentation(const std::string& list) {
  if (list.empty()) return;
  constexpr size_t kLongest = 80;  // notes keep it
  check<ValueError>(list.size() <= kLongest, "a list longer than ", kLongest, " characters");
  for (const std::string& step : split_at(list, ',')) {
    const Augmenter& augmenter = augmenter_of(step.substr(0, step.find(':')));
    check<ValueError>(std::ranges::count(steps_, augmenter.name, &Step::name) == 0, augmenter.name, " is there twice");
    steps_.push_back({std::string(augmenter.name), amount_of(augmenter, step)});
  }
}

void Augmentation::add_to(CLI::App& command, std::string& list, const std::string& prefix) {
  const auto problem = [](std::string& text) -> std::string {
    try {
      Augmentation{text};
      return "";
    } catch (const ValueError& e) {
      return e.what();
    }
  };
  command
      .add_option(
          "--augment", list,
          prefix +
              "Change training pictures at random, anew in each epoch, in the list's order: crop:N (N black pixels "
              "are added on each side, then a part of the old size is cut out), flip (left becomes right; "
              "flip:X with probability X), rotate:X (by up to X degrees), shift:N (by up to N pixels), "
              "cutout:N (N x N pixels become black), mixup:X (pictures and classes are mixed with others' of "
              "the batch, by parts drawn from Beta(X, X)); e.g. crop:4,flip")
      ->type_name("LIST")
      ->check(CLI::Validator(problem, ""));
}

std::vector<data::Transform> Augmentation::transforms(const Shape& image) const {
  std::vector<data::Transform> all;
  for (const auto& [name, amount] : steps_) {
    const auto pixels = static_cast<int64_t>(amount);
    if (name == "crop" || name == "shift")  // by whole pixels: the same
      all.emplace_back(data::RandomCrop({image[1], image[2]}, {.padding = pixels}));
    else if (name == "flip")
      all.emplace_back(data::RandomHorizontalFlip(amount));
    else if (name == "rotate")
      all.emplace_back(data::RandomAffine({.degrees = amount}));
    else if (name == "cutout")
      all.emplace_back(data::Cutout(pixels));
  }
  return all;
}

std::shared_ptr<const data::Dataset> Augmentation::of(const std::shared_ptr<const data::Dataset>& examples) const {
  if (empty()) return examples;
  Pictures pictures = pictures_of(examples);
  const data::Batch first = pictures.dataset->batch(std::vector<int64_t>{0});
  const auto& [field, example] = first.fields()[0];
  check<ValueError>(example.ndim() == 4 && example.dtype() == DType::float32,
                    "--augment is for pictures, and the dataset has ", describe(example.data()));
  std::vector<data::Transform> all = transforms(example.data().squeeze(0).shape());
  std::ranges::move(pictures.last, std::back_inserter(all));
  return std::make_shared<data::Transformed>(pictures.dataset, field, std::move(all));
}

data::BatchTransform Augmentation::of_batches(int64_t classes) const {
  const auto mixup = std::ranges::find(steps_, "mixup", &Step::name);
  return mixup == steps_.end() ? data::BatchTransform() : data::MixUp(mixup->amount, classes);
}

int64_t Augmentation::workers() const { return empty() ? 1 : std::clamp<int64_t>(num_threads() / 2, 1, 4); }

}  // namespace thimble::apps
