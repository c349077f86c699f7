// Texts as numbers: words, a vocabulary of the frequent ones, sentences with labels.
//
//   data::LabelledTexts train = data::read_labelled_texts("data/sst2/train.tsv");
//   auto words = std::make_shared<data::Vocabulary>(data::Vocabulary::of(train.texts, 5000));
//   data::TextDataset sentences(train, words);
#pragma once

#include <concepts>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/nn/data/dataset.h>

namespace thimble::data {

/// The parts of a text that spaces, tabs and ends of lines separate, none empty. They point into the text.
THIMBLE_API std::vector<std::string_view> split_words(std::string_view text);
template <std::same_as<std::string> Passing>
std::vector<std::string_view> split_words(Passing&& text) = delete;  // they would point to what is gone

/// Numbers for words: 0 fills sentences up, 1 is every word that is not in the vocabulary, then come its words.
class THIMBLE_API Vocabulary {
 public:
  static constexpr int64_t kPadding = 0, kUnknown = 1, kFirst = 2;

  /// The words numbered from 2 on. Throws ValueError for an empty word or one that occurs twice.
  explicit Vocabulary(std::vector<std::string> words);
  Vocabulary(const Vocabulary&) = delete;
  Vocabulary(Vocabulary&&) = default;
  /// The `most` most frequent words of the texts, the most frequent first, those of the same frequency in the order of
  /// their bytes. Throws ValueError for a negative number.
  static Vocabulary of(std::span<const std::string> texts, int64_t most);

  const std::vector<std::string>& words() const { return words_; }
  /// How many numbers there are: the rows of an embedding.
  int64_t size() const { return std::ssize(words_) + kFirst; }
  int64_t number_of(std::string_view word) const;
  /// Of each word of a text.
  std::vector<int64_t> encode(std::string_view text) const;

 private:
  std::vector<std::string> words_;
  std::unordered_map<std::string_view, int64_t> number_of_;  // over words_
};

/// Texts, and a class for each.
struct THIMBLE_API LabelledTexts {
  std::vector<std::string> texts;
  std::vector<int64_t> labels;
};

/// A file of lines TEXT<tab>LABEL, plain or gzip, labels being numbers from 0 on. The first `skipped_lines`, a header
/// say, and lines of nothing are left out. Throws IOError if it cannot be read, FormatError that names the line for
/// another line or one that is not UTF-8, for a file without any, and for more than a gigabyte.
THIMBLE_API LabelledTexts read_labelled_texts(const std::string& path, int64_t skipped_lines = 0);

/// Of a TextDataset.
struct THIMBLE_API TextOptions {
  int64_t most_words = 512;  ///< of longer texts the rest is left out
  bool pad_to_most = false;  ///< all batches have the length most_words, as ConcatDataset needs it
};

/// Fields "tokens", int64 [n, length], and "label", int64 [n]. The length is that of the batch's longest text, and at
/// least 1; shorter ones are filled up with Vocabulary::kPadding.
class THIMBLE_API TextDataset : public Dataset {
 public:
  /// Throws ValueError for no vocabulary, not as many labels as texts, or a length that is not positive.
  TextDataset(const LabelledTexts& texts, std::shared_ptr<const Vocabulary> vocabulary,
              const TextOptions& options = {});

  int64_t size() const override { return std::ssize(labels_); }
  const Vocabulary& vocabulary() const { return *vocabulary_; }

 private:
  Batch make(std::span<const int64_t> indices, const Generator& random) const override;

  std::shared_ptr<const Vocabulary> vocabulary_;
  TextOptions options_;
  std::vector<std::vector<int64_t>> tokens_;
  std::vector<int64_t> labels_;
};

}  // namespace thimble::data
