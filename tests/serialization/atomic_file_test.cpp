#include <atomic>
#include <csignal>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <tests/serialization/files.h>

#include <thimble/core/error.h>
#include <thimble/serialization/atomic_file.h>

namespace thimble {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

void save(const fs::path& path, const std::string& bytes) {
  AtomicFile file(path);
  file.write(bytes.data(), bytes.size());
  file.commit();
}

std::string save_error_of(const fs::path& path) {
  return message_of<IOError>([&] { save(path, "new"); });
}

unsigned mode_of(const fs::path& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? status.st_mode & 07777u : 0;
}

// No file may grow beyond `bytes`: writing more fails with EFBIG.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  void (*handler_)(int);
};

TEST(AtomicFile, AppearsWithAllThatWasWritten) {
  TempFolder folder;
  AtomicFile file(folder / "f");
  std::string all;
  for (int i = 0; i < 50; ++i) {
    const std::string piece(static_cast<size_t>(i * i), static_cast<char>('a' + i % 26));
    file.write(piece.data(), piece.size());
    all += piece;
  }
  EXPECT_FALSE(fs::exists(folder / "f"));
  file.commit();
  EXPECT_EQ(read_bytes(folder / "f"), all);
  EXPECT_EQ(folder.entries(), 1);
}

TEST(AtomicFile, ReplacesTheOldFileAtCommit) {
  TempFolder folder;
  save(folder / "f", "old and longer");
  AtomicFile file(folder / "f");
  file.write("new", 3);
  EXPECT_EQ(read_bytes(folder / "f"), "old and longer");
  file.commit();
  EXPECT_EQ(read_bytes(folder / "f"), "new");
  EXPECT_THROW(file.write("x", 1), IOError);
  EXPECT_THROW(file.commit(), IOError);
}

TEST(AtomicFile, WithoutCommitLeavesNoTrace) {
  TempFolder folder;
  save(folder / "f", "old");
  {
    AtomicFile file(folder / "f"), other(folder / "other");
    file.write("new", 3);
    other.write("new", 3);
  }
  EXPECT_EQ(read_bytes(folder / "f"), "old");
  EXPECT_EQ(folder.entries(), 1);
}

TEST(AtomicFile, IsCreatedAsUmaskSays) {
  TempFolder folder;
  const mode_t before = ::umask(027);
  save(folder / "f", "x");
  ::umask(before);
  EXPECT_EQ(mode_of(folder / "f"), 0640u);
}

TEST(AtomicFile, KeepsThePermissionsOfTheFileItReplaces) {
  TempFolder folder;
  for (unsigned mode : {0600u, 0666u, 0755u}) {
    save(folder / "f", "old");
    ::chmod((folder / "f").c_str(), mode);
    save(folder / "f", "new");
    EXPECT_EQ(mode_of(folder / "f"), mode);
    EXPECT_EQ(read_bytes(folder / "f"), "new");
  }
}

TEST(AtomicFile, FollowsSymbolicLinks) {
  TempFolder folder;
  fs::create_directory(folder / "sub");
  save(folder / "sub/f", "old");
  fs::create_symlink("sub/f", folder / "link");
  fs::create_symlink("link", folder / "link2");
  save(folder / "link2", "new");
  EXPECT_TRUE(fs::is_symlink(folder / "link"));
  EXPECT_TRUE(fs::is_symlink(folder / "link2"));
  EXPECT_EQ(read_bytes(folder / "sub/f"), "new");

  fs::create_symlink(folder / "sub/none", folder / "dangling");
  save(folder / "dangling", "created");
  EXPECT_TRUE(fs::is_symlink(folder / "dangling"));
  EXPECT_EQ(read_bytes(folder / "sub/none"), "created");

  fs::create_symlink("loop", folder / "loop");
  EXPECT_THAT(save_error_of(folder / "loop"), HasSubstr("Too many levels of symbolic links"));
}

TEST(AtomicFile, WorksInTheCurrentFolder) {
  TempFolder folder;
  const fs::path before = fs::current_path();
  fs::current_path(folder.path());
  save("f", "x");
  fs::current_path(before);
  EXPECT_EQ(read_bytes(folder / "f"), "x");
  EXPECT_EQ(folder.entries(), 1);
}

TEST(AtomicFile, SaysWhyItCannotWrite) {
  TempFolder folder;
  EXPECT_EQ(save_error_of(folder / "none/f"),
            "cannot write '" + (folder / "none/f").native() + "': No such file or directory; check the path");
  save(folder / "f", "old");
  EXPECT_THAT(save_error_of(folder / "f/g"), HasSubstr("Not a directory"));
  EXPECT_THAT(save_error_of(folder.path()), HasSubstr("Is a directory; name a file"));
  EXPECT_THAT(save_error_of(folder / std::string(300, 'x')), HasSubstr("File name too long"));
  EXPECT_THAT(save_error_of(""), HasSubstr("cannot write ''"));
  EXPECT_EQ(read_bytes(folder / "f"), "old");
  EXPECT_EQ(folder.entries(), 1);
}

TEST(AtomicFile, RespectsReadOnlyFoldersAndFiles) {
  TempFolder folder;
  save(folder / "f", "old");
  ::chmod((folder / "f").c_str(), 0444);
  ::chmod(folder.path().c_str(), 0555);
  {
    const WithoutPowers nobody;
    EXPECT_THAT(save_error_of(folder / "new"), HasSubstr("Permission denied; check the permissions"));
    EXPECT_THAT(save_error_of(folder / "f"), HasSubstr("Permission denied"));
  }
  ::chmod(folder.path().c_str(), 0777);
  {
    const WithoutPowers nobody;
    EXPECT_THAT(save_error_of(folder / "f"), HasSubstr("Permission denied"));
    EXPECT_EQ(read_bytes(folder / "f"), "old");
    save(folder / "new", "new");
  }
  EXPECT_EQ(folder.entries(), 2);
}

TEST(AtomicFile, KeepsTheOldFileWhereTheNewOneGrowsTooLarge) {
  TempFolder folder;
  save(folder / "f", "old");
  const std::string bytes(10000, 'x');
  for (rlim_t limit : {0, 1, 5000, 9999}) {
    AtomicFile file(folder / "f");
    {
      const FileSizeLimit small(limit);
      EXPECT_EQ(
          message_of<IOError>([&] { file.write(bytes.data(), bytes.size()); }),
          "cannot write '" + (folder / "f").native() + "': File too large; raise the limit on file sizes (ulimit -f)");
    }
    EXPECT_EQ(folder.entries(), 1);
    EXPECT_THAT(message_of<IOError>([&] { file.write("x", 1); }), HasSubstr("an earlier write failed"));
    EXPECT_THAT(message_of<IOError>([&] { file.commit(); }), HasSubstr("an earlier write failed"));
    EXPECT_EQ(read_bytes(folder / "f"), "old");
  }
  const FileSizeLimit exact(bytes.size());
  save(folder / "f", bytes);
  EXPECT_EQ(read_bytes(folder / "f"), bytes);
}

TEST(AtomicFile, ReportsAFullDevice) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "no /dev/full on this system";
  EXPECT_EQ(save_error_of("/dev/full"),
            "cannot write '/dev/full': No space left on device; free some space or choose another folder");
  EXPECT_TRUE(fs::is_character_file("/dev/full"));
}

TEST(AtomicFile, WritesStraightToWhatCannotBeReplaced) {
  save("/dev/null", "gone");
  EXPECT_TRUE(fs::is_character_file("/dev/null"));

  TempFolder folder;
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  std::string received;
  std::thread reader([&] { received = read_bytes(folder / "pipe"); });
  save(folder / "pipe", "through the pipe");
  reader.join();
  EXPECT_EQ(received, "through the pipe");
  EXPECT_TRUE(fs::is_fifo(folder / "pipe"));
  EXPECT_EQ(folder.entries(), 1);
}

TEST(AtomicFile, AvoidsTemporaryFilesThatACrashLeftBehind) {
  TempFolder folder;
  const std::string prefix = ".thimble-" + std::to_string(::getpid()) + "-";
  int next = 0;
  {
    const AtomicFile file(folder / "f");
    const std::string name = fs::directory_iterator(folder.path())->path().filename().native();
    ASSERT_THAT(name, testing::StartsWith(prefix));
    next = std::stoi(name.substr(prefix.size())) + 1;
  }
  for (int i = 0; i < 50; ++i) write_bytes(folder / (prefix + std::to_string(next + i) + ".tmp"), "left");
  save(folder / "f", "new");
  EXPECT_EQ(read_bytes(folder / "f"), "new");
  EXPECT_EQ(folder.entries(), 51);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(read_bytes(folder / (prefix + std::to_string(next + i) + ".tmp")), "left");
}

TEST(AtomicFile, ReadersSeeWholeFilesWhileWritersCompete) {
  TempFolder folder;
  constexpr size_t kSize = 100000;
  save(folder / "f", std::string(kSize, '-'));
  std::atomic<int> running = 4;
  std::vector<std::thread> writers;
  for (char letter : {'a', 'b', 'c', 'd'}) {
    writers.emplace_back([&, letter] {
      for (int i = 0; i < 20; ++i) {
        AtomicFile file(folder / "f");
        for (size_t part = 0; part < 10; ++part) file.write(std::string(kSize / 10, letter).data(), kSize / 10);
        file.commit();
      }
      --running;
    });
  }
  int reads = 0;
  for (; running > 0 || reads == 0; ++reads) {
    const std::string bytes = read_bytes(folder / "f");
    ASSERT_EQ(bytes.size(), kSize);
    ASSERT_EQ(bytes.find_first_not_of(bytes[0]), std::string::npos);
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(folder.entries(), 1);
}

}  // namespace
}  // namespace thimble
