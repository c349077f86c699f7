#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <tests/serialization/files.h>

#include <thimble/core/error.h>
#include <thimble/nn/data/text.h>

namespace thimble::data {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::ThrowsMessage;

TEST(SplitWords, ByAnyWhiteSpace) {
  EXPECT_THAT(split_words(" one two\tthree\r\n\n four "), ElementsAre("one", "two", "three", "four"));
  EXPECT_THAT(split_words("word"), ElementsAre("word"));
  EXPECT_THAT(split_words(""), IsEmpty());
  EXPECT_THAT(split_words(" \t\n"), IsEmpty());
}

TEST(Vocabulary, HasTheMostFrequentWords) {
  const std::vector<std::string> texts{"b a c a", "c a d b"};
  EXPECT_THAT(Vocabulary::of(texts, 3).words(), ElementsAre("a", "b", "c"));
  EXPECT_THAT(Vocabulary::of(texts, 100).words(), ElementsAre("a", "b", "c", "d"));
  EXPECT_THAT(Vocabulary::of(texts, 0).words(), IsEmpty());
  EXPECT_THROW(Vocabulary::of(texts, -1), ValueError);
  const Vocabulary words = Vocabulary::of(texts, 2);
  EXPECT_EQ(words.size(), 4);
  EXPECT_THAT(words.encode("b x a c"), ElementsAre(3, 1, 2, 1));
  EXPECT_THAT(words.encode(""), IsEmpty());
}

TEST(Vocabulary, RefusesWordsThatAreNone) {
  EXPECT_THAT([] { Vocabulary({"a", "b", "a"}); }, ThrowsMessage<ValueError>(HasSubstr("'a' occurs twice")));
  EXPECT_THROW(Vocabulary({"a", ""}), ValueError);
}

TEST(LabelledTexts, AreReadLineByLine) {
  TempFolder folder;
  write_bytes(folder / "f", "a good film\t1\r\n\t0\nwith\ta tab\t12");
  const LabelledTexts read = read_labelled_texts((folder / "f").string());
  EXPECT_THAT(read.texts, ElementsAre("a good film", "", "with\ta tab"));
  EXPECT_THAT(read.labels, ElementsAre(1, 0, 12));
  write_bytes(folder / "f", "sentence\tlabel\n\ngood\t1\n\n");
  EXPECT_THAT(read_labelled_texts((folder / "f").string(), 1).texts, ElementsAre("good"));
  std::string large;
  for (int i = 0; i < 20'000; ++i) large += str("line ", i, "\t", i % 3, "\n");
  write_bytes(folder / "f", large);
  const LabelledTexts many = read_labelled_texts((folder / "f").string());
  ASSERT_EQ(many.texts.size(), 20'000u);
  EXPECT_EQ(many.texts.back(), "line 19999");
}

TEST(LabelledTexts, RefusesOtherLines) {
  TempFolder folder;
  const auto reads = [&](const std::string& bytes) {
    return [&folder, bytes] {
      write_bytes(folder / "f.tsv", bytes);
      read_labelled_texts((folder / "f.tsv").string());
    };
  };
  EXPECT_THAT(reads("a\t1\nb 0\n"),
              ThrowsMessage<FormatError>(AllOf(HasSubstr("f.tsv"), HasSubstr("line 2 has no tab"))));
  for (const char* label : {"", "x", "1.5", "-1", " 1", "99999999999999999999"})
    EXPECT_THAT(reads(str("text\t", label)), ThrowsMessage<FormatError>(HasSubstr("expected a label"))) << label;
  EXPECT_THAT(reads(""), ThrowsMessage<FormatError>(HasSubstr("has no lines")));
  EXPECT_THROW(read_labelled_texts((folder / "none").string()), IOError);
}

TEST(TextDataset, FillsUpToTheLongestOfTheBatch) {
  const auto words = std::make_shared<Vocabulary>(std::vector<std::string>{"a", "b", "c"});
  const TextDataset data({{"a b c a", "", "c x"}, {0, 1, 2}}, words, {.most_words = 3});
  EXPECT_EQ(data.size(), 3);
  const Batch batch = data.batch(std::vector<int64_t>{2, 0, 1});
  EXPECT_EQ(batch["tokens"].shape(), (Shape{3, 3}));
  EXPECT_THAT(batch["tokens"].data().to_vector<int64_t>(), ElementsAre(4, 1, 0, 2, 3, 4, 0, 0, 0));
  EXPECT_THAT(batch["label"].data().to_vector<int64_t>(), ElementsAre(2, 0, 1));
  EXPECT_EQ(data.batch(std::vector<int64_t>{1})["tokens"].shape(), (Shape{1, 1}));
  EXPECT_THROW(TextDataset({{"a"}, {}}, words), ValueError);
  EXPECT_THROW(TextDataset({{"a"}, {0}}, words, {.most_words = 0}), ValueError);
  EXPECT_THROW(TextDataset({{"a"}, {0}}, nullptr), ValueError);
  const TextDataset fixed({{"a b c a", "", "c x"}, {0, 1, 2}}, words, {.most_words = 5, .pad_to_most = true});
  EXPECT_THAT(fixed.batch(std::vector<int64_t>{2})["tokens"].data().to_vector<int64_t>(), ElementsAre(4, 1, 0, 0, 0));
}

}  // namespace
}  // namespace thimble::data
