#include <cstring>
#include <memory>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <tests/serialization/files.h>
#include <unistd.h>

#include <thimble/core/ndarray.h>
#include <thimble/core/platform/mapped_file.h>

namespace thimble {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string content(const MappedFile& file) { return {reinterpret_cast<const char*>(file.data()), file.size()}; }

std::string error_of(const std::filesystem::path& path) {
  return message_of<IOError>([&] { MappedFile file(path); });
}

TEST(MappedFile, HoldsTheWholeFile) {
  TempFolder folder;
  for (size_t size : {1, 4095, 4096, 4097, 100000}) {
    std::string bytes(size, '\0');
    for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 7 + i / 256);
    write_bytes(folder / "f", bytes);
    EXPECT_EQ(content(MappedFile(folder / "f")), bytes);
  }
}

TEST(MappedFile, IsEmptyForAnEmptyFile) {
  TempFolder folder;
  write_bytes(folder / "f", "");
  const MappedFile file(folder / "f");
  EXPECT_EQ(file.size(), 0u);
  EXPECT_EQ(file.data(), nullptr);
}

TEST(MappedFile, KeepsWritesToItself) {
  TempFolder folder;
  const std::string bytes(10000, 'a');
  write_bytes(folder / "f", bytes);
  {
    MappedFile file(folder / "f"), other(folder / "f");
    std::memset(file.data(), 'b', file.size());
    EXPECT_EQ(content(file), std::string(10000, 'b'));
    EXPECT_EQ(content(other), bytes);
  }
  EXPECT_EQ(read_bytes(folder / "f"), bytes);
}

TEST(MappedFile, ForgetsWhatNobodyElseHasWritten) {
  TempFolder folder;
  const std::string bytes(100'000, 'a');
  write_bytes(folder / "f", bytes);
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t size = bytes.size();
  using Part = std::pair<size_t, size_t>;
  for (const auto& [first, last] : {Part(0, size), {5000, 90'000}, {5000, 5001}, {99'000, size}}) {
    SCOPED_TRACE(str(first, " to ", last));
    const MappedFile file(folder / "f");
    std::memset(file.data(), 'b', file.size());
    file.forget(first, last - first);
    // Whole pages are those of the file again; what shares a page with others is kept.
    const size_t begin = (first + page - 1) / page * page, end = last < size ? last / page * page : size;
    std::string expected(size, 'b');
    if (begin < end) expected.replace(begin, end - begin, end - begin, 'a');
    EXPECT_TRUE(content(file) == expected);
  }
  const MappedFile file(folder / "f", true, MappedFile::Access::read_only);
  EXPECT_EQ(content(file), bytes);
  file.forget(5000, 20);
  EXPECT_EQ(content(file), bytes);
}

TEST(MappedFile, MapsAReadOnlyFileWritably) {
  TempFolder folder;
  write_bytes(folder / "f", "abc");
  ::chmod((folder / "f").c_str(), 0444);
  const WithoutPowers nobody;
  MappedFile file(folder / "f");
  file.data()[0] = std::byte{'x'};
  EXPECT_EQ(content(file), "xbc");
  EXPECT_EQ(read_bytes(folder / "f"), "abc");
}

TEST(MappedFile, LivesAsLongAsAnArrayThatBorrowsIt) {
  TempFolder folder;
  write_bytes(folder / "f", std::string("\1\2\3\4\5\6", 6));
  auto file = std::make_shared<MappedFile>(folder / "f");
  const std::weak_ptr<MappedFile> watch = file;
  NDArray view = NDArray::borrow(file->data(), {2, 3}, DType::uint8, file).slice(0, 1, 2);
  file.reset();
  std::filesystem::remove(folder / "f");
  EXPECT_EQ(view.to_vector<int32_t>(), (std::vector<int32_t>{4, 5, 6}));
  EXPECT_FALSE(watch.expired());
  view = NDArray();
  EXPECT_TRUE(watch.expired());
}

TEST(MappedFile, SaysWhyItCannotRead) {
  TempFolder folder;
  EXPECT_EQ(error_of(folder / "none"),
            "cannot read '" + (folder / "none").native() + "': No such file or directory; check the path");
  EXPECT_THAT(error_of(folder.path()), HasSubstr("Is a directory; name a file"));
  EXPECT_THAT(error_of(""), HasSubstr("cannot read ''"));
  EXPECT_THAT(error_of("/dev/null"), HasSubstr("is a device or a pipe"));
  EXPECT_THAT(error_of(folder / "a\nb"), AllOf(HasSubstr("a\\nb"), testing::Not(HasSubstr("\n"))));
  write_bytes(folder / "secret", "x");
  ::chmod((folder / "secret").c_str(), 0);
  const WithoutPowers nobody;
  EXPECT_THAT(error_of(folder / "secret"), HasSubstr("Permission denied; check the permissions"));
}

TEST(MappedFile, DoesNotWaitForTheWriterOfAPipe) {
  TempFolder folder;
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_THAT(error_of(folder / "pipe"), HasSubstr("is a device or a pipe"));
}

}  // namespace
}  // namespace thimble
