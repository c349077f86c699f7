#include <algorithm>
#include <set>
#include <string_view>

#include <minizip/unzip.h>

#include <thimble/core/error.h>
#include <thimble/core/text.h>
#include <thimble/serialization/zip.h>
#include <thimble/serialization/zip_memory.h>

namespace thimble::detail {

namespace {

constexpr uint64_t kMostDeflated = 1032;  // bytes that one byte can stand for: 258 of 2 bits
constexpr uLong kStored = 0, kDeflated = Z_DEFLATED;

struct Close {
  void operator()(void* archive) const { unzClose(archive); }
};

// An archive without members, where minizip does not find the directory's end.
bool is_empty(std::span<const std::byte> archive) {
  constexpr std::string_view kNothing("PK\5\6\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 22);
  return std::string_view(reinterpret_cast<const char*>(archive.data()), archive.size()) == kNothing;
}

class ZipReader {
 public:
  explicit ZipReader(std::span<const std::byte> archive) : memory_{.content = archive}, left_(archive.size()) {
    zlib_filefunc64_def functions = memory_.functions();
    archive_.reset(unzOpen2_64("", &functions));
    check<FormatError>(archive_ != nullptr, "it is not a zip archive, or cut short");
  }

  /// False at the end.
  bool next() {
    const int status = first_ ? unzGoToFirstFile(archive_.get()) : unzGoToNextFile(archive_.get());
    first_ = false;
    if (status == UNZ_END_OF_LIST_OF_FILE) return false;
    check<FormatError>(status == UNZ_OK, directory_damage());
    read_info();
    return true;
  }

  const std::string& name() const { return name_; }

  std::vector<std::byte> bytes() {
    check<FormatError>(unzOpenCurrentFile(archive_.get()) == UNZ_OK, member(), " is damaged at its begin");
    std::vector<std::byte> out;
    // Grows with what arrives: the directory may announce anything.
    while (out.size() < size_) {
      constexpr uint64_t kFirstPiece = 1 << 16, kLargestPiece = 1 << 30;  // minizip counts in unsigned int
      const uint64_t before = out.size();
      const uint64_t piece = std::min({size_ - before, std::max(before, kFirstPiece), kLargestPiece});
      out.reserve(before + piece);
      out.resize(before + piece);
      const int got = unzReadCurrentFile(archive_.get(), out.data() + before, static_cast<unsigned>(piece));
      check<FormatError>(got > 0, member(), " is damaged after ", before, " of its ", size_, " bytes");
      out.resize(before + static_cast<uint64_t>(got));
    }
    check<FormatError>(unzCloseCurrentFile(archive_.get()) == UNZ_OK, member(), " is damaged: its checksum is wrong");
    return out;
  }

 private:
  std::string member() const { return "member " + quote(name_); }

  std::string directory_damage() const {
    return str("the directory of the zip archive is damaged after ", names_.size(), " members");
  }

  void read_info() {
    unz_file_info64 info{};
    const auto get_info = [&](char* to, uLong size) {
      return unzGetCurrentFileInfo64(archive_.get(), &info, to, size, nullptr, 0, nullptr, 0) == UNZ_OK;
    };
    bool complete = get_info(nullptr, 0);
    name_.resize(info.size_filename);
    complete = complete && get_info(name_.data(), info.size_filename);
    check<FormatError>(complete, directory_damage());
    check<FormatError>(is_utf8(name_), "the name of ", member(), " is not UTF-8");
    check<FormatError>(names_.insert(name_).second, "there are two members ", quote(name_));
    constexpr uLong kEncrypted = 1;
    check<FormatError>((info.flag & kEncrypted) == 0, member(), " is encrypted");
    check_sizes(info);
    size_ = info.uncompressed_size;
  }

  // Members whose bytes overlap could add up to far more than the archive.
  void check_sizes(const unz_file_info64& info) {
    const uLong method = info.compression_method;
    check<FormatError>(method == kStored || method == kDeflated, member(), " is compressed by method ", method,
                       ", expected ", kStored, " (stored) or ", kDeflated, " (deflated)");
    check<FormatError>(info.compressed_size <= left_, member(), " is said to take ", info.compressed_size,
                       " bytes of the archive, where at most ", left_, " are left");
    left_ -= info.compressed_size;
    const bool possible = method == kStored ? info.uncompressed_size == info.compressed_size
                                            : info.uncompressed_size / kMostDeflated <= info.compressed_size;
    check<FormatError>(possible, member(), " is said to hold ", info.uncompressed_size, " bytes, which its ",
                       info.compressed_size, " bytes in the archive cannot be");
  }

  ZipMemory memory_;
  std::unique_ptr<void, Close> archive_;
  bool first_ = true;
  uint64_t left_;  // bytes of the archive that no member seen so far has
  std::set<std::string> names_;
  std::string name_;   // of the current member
  uint64_t size_ = 0;  // of the current member, uncompressed
};

}  // namespace

void read_zip(std::span<const std::byte> archive,
              const std::function<void(const std::string&, std::vector<std::byte>)>& member) {
  if (is_empty(archive)) return;
  ZipReader reader(archive);
  while (reader.next()) member(reader.name(), reader.bytes());
}

}  // namespace thimble::detail
