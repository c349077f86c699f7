#include <algorithm>
#include <charconv>

#include <thimble/core/text.h>
#include <thimble/nn/data/byte_reader.h>
#include <thimble/nn/data/text.h>

namespace thimble::data {

namespace {

constexpr std::string_view kSpace = " \t\r\n\v\f";

std::string read_text(const std::string& path) {
  constexpr size_t kPiece = 1 << 16, kMostBytes = size_t{1} << 30;  // a small file may inflate to any number
  ByteReader file(path);
  std::string text;
  for (size_t got = kPiece; got == kPiece;) {
    const size_t before = text.size();
    text.resize(before + kPiece);
    got = file.read(reinterpret_cast<uint8_t*>(text.data()) + before, kPiece);
    text.resize(before + got);
    check<FormatError>(text.size() <= kMostBytes, detail::quote_path(path), ": holds more than ", kMostBytes, " bytes");
  }
  return text;
}

// Nothing is left of the line if its end was reached.
std::string_view next_line(std::string_view& rest) {
  const size_t end = rest.find('\n');
  std::string_view line = rest.substr(0, end);
  rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

}  // namespace

std::vector<std::string_view> split_words(std::string_view text) {
  std::vector<std::string_view> words;
  for (size_t begin = text.find_first_not_of(kSpace); begin != std::string_view::npos;) {
    const size_t end = std::min(text.find_first_of(kSpace, begin), text.size());
    words.push_back(text.substr(begin, end - begin));
    begin = text.find_first_not_of(kSpace, end);
  }
  return words;
}

Vocabulary::Vocabulary(std::vector<std::string> words) : words_(std::move(words)) {
  for (const std::string& word : words_) {
    check<ValueError>(!word.empty(), "vocabulary: word ", number_of_.size(), " is empty");
    const auto number = static_cast<int64_t>(number_of_.size()) + kFirst;
    check<ValueError>(number_of_.emplace(word, number).second, "vocabulary: ", detail::quote(word), " occurs twice");
  }
}

Vocabulary Vocabulary::of(std::span<const std::string> texts, int64_t most) {
  check<ValueError>(most >= 0, "vocabulary: of ", most, " words");
  std::unordered_map<std::string_view, int64_t> counts;
  for (const std::string& text : texts)
    for (const std::string_view word : split_words(text)) ++counts[word];
  std::vector<std::pair<std::string_view, int64_t>> all(counts.begin(), counts.end());
  std::ranges::sort(
      all, [](const auto& a, const auto& b) { return a.second != b.second ? a.second > b.second : a.first < b.first; });
  std::vector<std::string> words;
  for (const auto& [word, count] : all) {
    if (std::ssize(words) == most) break;
    words.emplace_back(word);
  }
  return Vocabulary(std::move(words));
}

int64_t Vocabulary::number_of(std::string_view word) const {
  const auto it = number_of_.find(word);
  return it == number_of_.end() ? kUnknown : it->second;
}

std::vector<int64_t> Vocabulary::encode(std::string_view text) const {
  std::vector<int64_t> numbers;
  for (const std::string_view word : split_words(text)) numbers.push_back(number_of(word));
  return numbers;
}

LabelledTexts read_labelled_texts(const std::string& path, int64_t skipped_lines) {
  const std::string name = detail::quote_path(path), text = read_text(path);
  LabelledTexts out;
  std::string_view rest = text;
  for (int64_t number = 1; !rest.empty(); ++number) {
    const std::string_view line = next_line(rest);
    if (number <= skipped_lines || line.empty()) continue;
    check<FormatError>(detail::is_utf8(line), name, ": line ", number, " is not UTF-8");  // as words in files must be
    const size_t tab = line.rfind('\t');
    check<FormatError>(tab != std::string_view::npos, name, ": line ", number, " has no tab, expected TEXT<tab>LABEL");
    const std::string_view label = line.substr(tab + 1);
    int64_t value = -1;
    const auto [end, error] = std::from_chars(label.data(), label.data() + label.size(), value);
    check<FormatError>(error == std::errc() && end == label.data() + label.size() && value >= 0, name, ": line ",
                       number, " ends in ", detail::quote(label), ", expected a label, a number from 0 on");
    out.texts.emplace_back(line.substr(0, tab));
    out.labels.push_back(value);
  }
  check<FormatError>(!out.texts.empty(), name, ": has no lines, expected TEXT<tab>LABEL");
  return out;
}

TextDataset::TextDataset(const LabelledTexts& texts, std::shared_ptr<const Vocabulary> vocabulary,
                         const TextOptions& options)
    : vocabulary_(std::move(vocabulary)), options_(options), labels_(texts.labels) {
  check<ValueError>(vocabulary_ != nullptr, "texts: without a vocabulary");
  check<ValueError>(texts.texts.size() == texts.labels.size(), "texts: ", texts.labels.size(), " labels for ",
                    texts.texts.size(), " texts");
  check<ValueError>(options.most_words > 0, "texts: of at most ", options.most_words, " words");
  for (const std::string& text : texts.texts) {
    std::vector<int64_t> tokens = vocabulary_->encode(text);
    tokens.resize(std::min(tokens.size(), static_cast<size_t>(options.most_words)));
    tokens_.push_back(std::move(tokens));
  }
}

Batch TextDataset::make(std::span<const int64_t> indices, const Generator&) const {
  size_t length = options_.pad_to_most ? static_cast<size_t>(options_.most_words) : 1;
  for (const int64_t i : indices) length = std::max(length, tokens_[static_cast<size_t>(i)].size());
  NDArray tokens = NDArray::full({std::ssize(indices), static_cast<int64_t>(length)},
                                 static_cast<double>(Vocabulary::kPadding), DType::int64);
  NDArray labels({std::ssize(indices)}, DType::int64);
  for (size_t i = 0; i < indices.size(); ++i) {
    const auto example = static_cast<size_t>(indices[i]);
    std::ranges::copy(tokens_[example], tokens.data<int64_t>() + i * length);
    labels.data<int64_t>()[i] = labels_[example];
  }
  return Batch({{"tokens", std::move(tokens)}, {"label", std::move(labels)}});
}

}  // namespace thimble::data
