#include "apps/notes.h"

#include <set>
#include <utility>

#include "apps/joined.h"
#include "apps/sample_shape.h"
#include <thimble/core/text.h>

namespace thimble::apps {

namespace {

constexpr const char* kPreprocessing = "preprocessing.";
constexpr const char* kVocabulary = "vocabulary";                        // words, a space between them
constexpr const char *kImageSize = "image_size", *kClasses = "classes";  // names of folders, a slash between them
constexpr const char* kArrays = "arrays";
constexpr const char* kEqualizedPair = "equalized_pair.";

// Names are printed.
std::string name_in(const Attributes& a, const std::string& key) {
  constexpr size_t kLongest = 80;
  if (!a.contains(key)) return "";
  const auto name = a.get<std::string>(key);
  check<FormatError>(!name.empty() && detail::printable(name, kLongest) == name, "notes: ", key, " is ",
                     detail::quote(name, kLongest), ", expected a name");
  return name;
}

std::shared_ptr<const data::Vocabulary> vocabulary_in(const std::string& text) {
  const std::vector<std::string_view> words = data::split_words(text);
  try {
    return std::make_shared<data::Vocabulary>(std::vector<std::string>(words.begin(), words.end()));
  } catch (const ValueError& e) {
    throw FormatError(str("notes: ", kVocabulary, ": ", e.what()));
  }
}

Pair image_size_in(const Attributes& a) {
  constexpr int64_t kMost = 4096;  // as of --image-size
  const Pair size = Pair::from(a, kImageSize);
  check<FormatError>(size.height >= 1 && size.height <= kMost && size.width >= 1 && size.width <= kMost, kImageSize,
                     " is ", size.height, " x ", size.width, ", expected 1 to ", kMost);
  return size;
}

std::vector<std::string> classes_in(const Attributes& a) {
  std::vector<std::string> classes = split_at(a.get<std::string>(kClasses), '/');
  std::set<std::string> seen;
  for (const std::string& name : classes)
    check<FormatError>(!name.empty() && seen.insert(name).second, kClasses, " has ", detail::quote(name),
                       name.empty() ? ", which is no name" : " twice");
  return classes;
}

std::string arrays_in(const Attributes& a) {
  std::string arrays = a.get<std::string>(kArrays);
  check<FormatError>(arrays == kPixels || arrays == kNumbers, kArrays, " is ", detail::quote(arrays), ", expected ",
                     kPixels, " or ", kNumbers);
  return arrays;
}

Preparation preparation_in(const Attributes& a) {
  if (a.contains(kVocabulary)) return {.vocabulary = vocabulary_in(a.get<std::string>(kVocabulary))};
  try {
    Preparation preparation{.images = data::Preprocessing::from_attributes(a.part(kPreprocessing))};
    if (a.contains(kImageSize)) preparation.image_size = image_size_in(a);
    if (a.contains(kClasses)) preparation.classes = classes_in(a);
    if (a.contains(kArrays)) preparation.arrays = arrays_in(a);
    return preparation;
  } catch (const FormatError& e) {
    throw FormatError(str("notes: how images are prepared (", kPreprocessing, "...): ", e.what()));
  }
}

}  // namespace

Attributes notes_of(const quant::EqualizationReport& equalized_pairs) {
  Attributes a;
  for (size_t i = 0; i < equalized_pairs.size(); ++i) {
    const quant::EqualizedPair& pair = equalized_pairs[i];
    a.set_all(str(kEqualizedPair, i, "."), {{"first", pair.first}, {"second", pair.second}, {"factors", pair.factors}});
  }
  return a;
}

quant::EqualizationReport equalized_pairs_in(const Attributes& a) {
  quant::EqualizationReport pairs;
  const auto key = [&](const char* part) { return str(kEqualizedPair, pairs.size(), '.', part); };
  while (a.contains(key("first")))
    pairs.push_back({a.get<std::string>(key("first")), a.get<std::string>(key("second")),
                     a.get<std::vector<double>>(key("factors"))});
  return pairs;
}

Attributes Notes::to_attributes() const {
  Attributes a{{"method", method}, {"parameters", parameters}};
  const std::pair<const char*, const std::string&> names[] = {{"model", model},           {"dataset", dataset},
                                                              {"train_data", train_data}, {"test_data", test_data},
                                                              {"precision", precision},   {"augment", augment}};
  for (const auto& [key, name] : names)
    if (!name.empty()) a.set(key, name);
  if (input_shape) a.set("input_shape", input_shape->to_vector());
  if (preparation.vocabulary)
    a.set(kVocabulary, joined(preparation.vocabulary->words(), " "));
  else
    a.set_all(kPreprocessing, preparation.images.to_attributes());
  if (preparation.image_size) a.set(kImageSize, preparation.image_size->to_vector());
  if (!preparation.classes.empty()) a.set(kClasses, joined(preparation.classes, "/"));
  if (!preparation.arrays.empty()) a.set(kArrays, preparation.arrays);
  return a;
}

bool Notes::are_in(const Attributes& a) {
  return a.contains("dataset") || a.contains(kVocabulary) || !a.part(kPreprocessing).empty();
}

Notes Notes::from_attributes(const Attributes& a) {
  Notes notes;
  notes.model = name_in(a, "model");
  notes.dataset = name_in(a, "dataset");
  notes.train_data = name_in(a, "train_data");
  notes.test_data = name_in(a, "test_data");
  notes.precision = name_in(a, "precision");
  notes.augment = name_in(a, "augment");
  notes.method = name_in(a, "method");
  notes.parameters = a.get("parameters", int64_t{0});
  check<FormatError>(notes.parameters >= 0, "notes: parameters is ", notes.parameters);
  if (a.contains("input_shape"))
    notes.input_shape =
        checked_sample_shape<FormatError>("notes: input_shape", a.get<std::vector<int64_t>>("input_shape"));
  notes.preparation = preparation_in(a);
  return notes;
}

}  // namespace thimble::apps
