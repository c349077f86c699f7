// What cannot be seen from outside: folders that are flushed, and file systems without locks.
#include <cerrno>
#include <filesystem>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/serialization/files.h"
#include <thimble/serialization/training_state_folder.h>

namespace {

bool no_locks = false;
std::vector<std::string>* flushed = nullptr;

}  // namespace

// In place of the C library's, for all of this test program.
extern "C" int flock(int fd, int operation) noexcept {
  if (!no_locks) return static_cast<int>(::syscall(SYS_flock, fd, operation));
  errno = ENOLCK;
  return -1;
}
extern "C" int fsync(int fd) {
  if (flushed) flushed->push_back(std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd)).native());
  return static_cast<int>(::syscall(SYS_fsync, fd));
}

namespace thimble {
namespace {

TEST(TrainingStateFolders, WithoutALockNothingIsRemoved) {
  TempFolder folder;
  write_bytes(folder / ".state-1-0.tmp", "another run may be writing it");
  no_locks = true;
  { const TrainingStateFolder states(folder.path()); }
  no_locks = false;
  EXPECT_TRUE(std::filesystem::exists(folder / ".state-1-0.tmp"));
  { const TrainingStateFolder states(folder.path()); }
  EXPECT_FALSE(std::filesystem::exists(folder / ".state-1-0.tmp"));
}

TEST(TrainingStateFolders, FoldersThatAreMadeAreFlushedIntoTheirs) {
  TempFolder folder;
  const std::filesystem::path root = std::filesystem::canonical(folder.path());
  std::filesystem::create_directory(root / "a");
  std::vector<std::string> names;
  flushed = &names;
  { const TrainingStateFolder states(root / "a/b/c/"); }
  flushed = nullptr;
  EXPECT_EQ(names, (std::vector<std::string>{root / "a", root / "a/b"}));
}

}  // namespace
}  // namespace thimble
