#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/nn/data/idx_files.h"
#include <thimble/core/random.h>
#include <thimble/nn/data/idx.h>

namespace thimble::data {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

class Idx : public TemporaryFolder {
 protected:
  // That reading these bytes, plain and compressed, throws FormatError that names the file and says `text`.
  void expect_rejected(const std::string& bytes, const std::string& text) const {
    for (const std::string& content : {bytes, gzip(bytes)}) {
      const std::string file = write("bad", content);
      EXPECT_THAT([&] { read_idx(file); }, ThrowsMessage<FormatError>(AllOf(HasSubstr(file), HasSubstr(text))));
    }
  }
};

const std::string kSmall = idx_header(0x08, {2, 3}) + std::string{1, 2, 3, 4, 5, static_cast<char>(250)};

TEST_F(Idx, ReadsPlainAndGzipWhateverTheName) {
  for (const std::string& content : {kSmall, gzip(kSmall)}) {
    for (const char* name : {"file", "file.gz"}) {
      const NDArray a = read_idx(write(name, content));
      EXPECT_EQ(a.shape(), (Shape{2, 3}));
      EXPECT_EQ(a.dtype(), DType::uint8);
      EXPECT_EQ(a.to_vector<int>(), (std::vector<int>{1, 2, 3, 4, 5, 250}));
    }
  }
}

TEST_F(Idx, ReadsEachElementType) {
  EXPECT_EQ(read_idx(write("i8", idx_header(0x09, {2}) + "\xff\x7f")).to_vector<int>(), (std::vector<int>{-1, 127}));
  const NDArray i16 = read_idx(write("i16", idx_header(0x0b, {2}) + "\x01\x02\xff\xfe"));
  EXPECT_EQ(i16.dtype(), DType::int16);
  EXPECT_EQ(i16.to_vector<int>(), (std::vector<int>{258, -2}));
  EXPECT_EQ(
      read_idx(write("i32", idx_header(0x0c, {2}) + big_endian(0x01020304) + big_endian(0xfffffffe))).to_vector<int>(),
      (std::vector<int>{0x01020304, -2}));
  EXPECT_EQ(read_idx(write("f32", idx_header(0x0d, {1}) + big_endian(0x3fc00000))).item<float>(), 1.5f);
  const NDArray f64 = read_idx(write("f64", idx_header(0x0e, {1, 1}) + big_endian(0xc0040000) + big_endian(0)));
  EXPECT_EQ(f64.dtype(), DType::float64);
  EXPECT_EQ(f64.item<double>(), -2.5);
}

TEST_F(Idx, ReadsMoreThanOnePieceOfRandomBytes) {
  Generator generator(1);
  std::string elements(3'000'001, '\0');
  for (char& c : elements) c = static_cast<char>(generator.next_uint32());
  const std::string bytes = idx_header(0x08, {3'000'001}) + elements;
  for (const std::string& content : {bytes, gzip(bytes)}) {
    const NDArray a = read_idx(write("large", content));
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(a.data<uint8_t>()), elements.size()), elements);
  }
}

TEST_F(Idx, ReadsGzipOfSeveralMembers) {
  const NDArray a = read_idx(write("two", gzip(kSmall.substr(0, 7)) + gzip("") + gzip(kSmall.substr(7))));
  EXPECT_EQ(a.to_vector<int>(), (std::vector<int>{1, 2, 3, 4, 5, 250}));
}

TEST_F(Idx, ReadsEmptyArrays) {
  EXPECT_EQ(read_idx(write("empty", idx_header(0x08, {0, 28, 28}))).shape(), (Shape{0, 28, 28}));
}

TEST_F(Idx, RejectsTruncationAtEveryLength) {
  for (size_t n = 0; n < kSmall.size(); ++n)
    EXPECT_THROW(read_idx(write("short", kSmall.substr(0, n))), FormatError) << n << " bytes";
  const std::string compressed = gzip(kSmall);
  for (size_t n = 0; n < compressed.size(); ++n)
    EXPECT_THROW(read_idx(write("short", compressed.substr(0, n))), FormatError) << n << " compressed bytes";
}

TEST_F(Idx, NeverReadsSomethingElseFromGzipWithABitChanged) {
  const std::string compressed = gzip(kSmall);
  for (size_t at = 0; at < compressed.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = compressed;
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << bit));
      try {
        // Some changes do no harm: the header's time, another code for the same bytes.
        EXPECT_EQ(read_idx(write("damaged", damaged)).to_vector<int>(), (std::vector<int>{1, 2, 3, 4, 5, 250}));
      } catch (const FormatError&) {
      }
    }
  }
}

TEST_F(Idx, RejectsWhatIsNotIdx) {
  expect_rejected("", "holds 0 bytes");
  expect_rejected("PNG!....", "begins with 0x50 0x4e");
  expect_rejected(idx_header(0x08, {}), "0 dimensions");
  expect_rejected(idx_header(0x08, std::vector<uint32_t>(9, 1)) + '\1', "9 dimensions, expected 1 to 8");
  expect_rejected(idx_header(0x0a, {1}) + "1", "type code 0x0a");
  expect_rejected(idx_header(0x08, {2, 3}).substr(0, 10), "ends within the IDX header");
  expect_rejected(kSmall + '\0', "more than the 6 bytes");
  expect_rejected(kSmall.substr(0, 15), "holds 3 bytes of elements, its IDX header announces uint8[2,3] of 6 bytes");
}

TEST_F(Idx, RejectsHugeDimensionsWithoutAllocatingThem) {
  const uint32_t most = 0xffffffff;
  expect_rejected(idx_header(0x08, {most, most, most}) + "123", "too many");
  expect_rejected(idx_header(0x0e, {most, 0x40000000}) + "123", "too many");
  expect_rejected(idx_header(0x08, {0, most, most, most}), "too many");
  expect_rejected(idx_header(0x0e, {most, most, 0}), "too many");
  expect_rejected(idx_header(0x08, {most, 0x7fffffff}) + "123", "holds 3 bytes of elements");
  expect_rejected(idx_header(0x0d, {most}) + "123", "holds 3 bytes of elements");
}

TEST_F(Idx, RejectsGzipThatInflatesBeyondTheHeader) {
  const std::string bomb = gzip(kSmall + std::string(20'000'000, '\0'));
  EXPECT_LT(bomb.size(), 50'000u);
  EXPECT_THAT([&] { read_idx(write("bomb", bomb)); }, ThrowsMessage<FormatError>(HasSubstr("more than the 6 bytes")));
}

TEST_F(Idx, RejectsGarbageAfterGzip) {
  EXPECT_THAT([&] { read_idx(write("tail", gzip(kSmall) + "garbage")); },
              ThrowsMessage<FormatError>(HasSubstr("the gzip data is damaged")));
}

TEST_F(Idx, SaysWhichFileCannotBeRead) {
  EXPECT_THAT([&] { read_idx(path("absent")); },
              ThrowsMessage<IOError>(AllOf(HasSubstr(path("absent")), HasSubstr("No such file"))));
  EXPECT_THAT([&] { read_idx(path("two\nlines")); }, ThrowsMessage<IOError>(HasSubstr("two\\nlines")));
  EXPECT_THAT([&] { read_idx(folder()); }, ThrowsMessage<IOError>(HasSubstr("directory")));
}

}  // namespace
}  // namespace thimble::data
