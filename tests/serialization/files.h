// Files for tests: a folder that removes itself, whole files as bytes, and the loss of root's powers for a while.
#pragma once

#include <array>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace thimble {

/// A new folder, removed with everything in it.
class TempFolder {
 public:
  TempFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "thimble-test-XXXXXX").native();
    if (!::mkdtemp(name.data())) throw std::runtime_error("cannot make a temporary folder");
    path_ = name;
  }
  ~TempFolder() { std::filesystem::remove_all(path_); }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  /// How many files and folders it holds.
  long entries() const { return std::distance(std::filesystem::directory_iterator(path_), {}); }

 private:
  std::filesystem::path path_;
};

/// Root may read and write everything; while this lives, permissions count for this thread, and for the programs that
/// ProgramTest runs from it. It stays root, so that the tests and the program may lie where only root can look. Does
/// nothing for other users.
class WithoutPowers {
 public:
  WithoutPowers() { set_effective(before_[0].effective & ~mask(CAP_DAC_OVERRIDE) & ~mask(CAP_DAC_READ_SEARCH)); }
  ~WithoutPowers() { set_effective(before_[0].effective); }
  WithoutPowers(const WithoutPowers&) = delete;
  WithoutPowers& operator=(const WithoutPowers&) = delete;

  /// A program that root starts gets all powers again, except those that its parent has given up for good. True if that
  /// went well.
  static bool give_up_for_good() {
    const Sets now = sets();
    for (const int power : {CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH})
      if (!(now[0].effective & mask(power)) && (now[0].permitted & mask(power)) && ::prctl(PR_CAPBSET_DROP, power) != 0)
        return false;
    return true;
  }

 private:
  using Sets = std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3>;  // both powers are in the first

  static uint32_t mask(int power) { return uint32_t{1} << power; }
  static Sets sets() {
    Sets sets{};
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    if (::syscall(SYS_capget, &header, sets.data()) != 0) std::abort();
    return sets;
  }
  static void set_effective(uint32_t effective) {
    Sets changed = sets();
    changed[0].effective = effective;
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    if (::syscall(SYS_capset, &header, changed.data()) != 0) std::abort();
  }

  Sets before_ = sets();
};

inline std::string read_bytes(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline void write_bytes(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

/// Runs f, which must throw E, and gives its message.
template <typename E, typename F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const E& error) {
    return error.what();
  } catch (const std::exception& error) {
    ADD_FAILURE() << "threw another exception: " << error.what();
    return "";
  }
  ADD_FAILURE() << "did not throw";
  return "";
}

}  // namespace thimble
