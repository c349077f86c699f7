#include <algorithm>
#include <set>
#include <string_view>
#include <utility>

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

  const ZipMember& current() const { return member_; }

  // Opens the member and returns its first bytes.
  std::span<const std::byte> beginning(size_t most) {
    check<FormatError>(unzOpenCurrentFile(archive_.get()) == UNZ_OK, whose(), " is damaged at its begin");
    bytes_.resize(static_cast<size_t>(std::min<uint64_t>(member_.size, most)));
    inflate(0);
    return bytes_;
  }

  std::vector<std::byte> bytes() {
    const size_t before = bytes_.size();
    bytes_.reserve(member_.size);  // exactly: resize() alone may take more
    bytes_.resize(member_.size);
    inflate(before);
    check<FormatError>(unzCloseCurrentFile(archive_.get()) == UNZ_OK, whose(), " is damaged: its checksum is wrong");
    return std::exchange(bytes_, {});
  }

 private:
  std::string whose() const { return "member " + quote(member_.name); }

  // Fills bytes_ from here on.
  void inflate(size_t from) {
    while (from < bytes_.size()) {
      constexpr size_t kLargestPiece = size_t{1} << 30;  // minizip counts in unsigned int
      const size_t piece = std::min(bytes_.size() - from, kLargestPiece);
      const int got = unzReadCurrentFile(archive_.get(), bytes_.data() + from, static_cast<unsigned>(piece));
      check<FormatError>(got > 0, whose(), " is damaged after ", from, " of its ", member_.size, " bytes");
      from += static_cast<size_t>(got);
    }
  }

  std::string directory_damage() const {
    return str("the directory of the zip archive is damaged after ", names_.size(), " members");
  }

  void read_info() {
    unz_file_info64 info{};
    const auto get_info = [&](char* to, uLong size) {
      return unzGetCurrentFileInfo64(archive_.get(), &info, to, size, nullptr, 0, nullptr, 0) == UNZ_OK;
    };
    bool complete = get_info(nullptr, 0);
    std::string& name = member_.name;
    name.resize(info.size_filename);
    complete = complete && get_info(name.data(), info.size_filename);
    check<FormatError>(complete, directory_damage());
    check<FormatError>(is_utf8(name), "the name of ", whose(), " is not UTF-8");
    check<FormatError>(names_.insert(name).second, "there are two members ", quote(name));
    constexpr uLong kEncrypted = 1;
    check<FormatError>((info.flag & kEncrypted) == 0, whose(), " is encrypted");
    check_sizes(info);
    member_.size = info.uncompressed_size;
  }

  // Members whose bytes overlap could add up to far more than the archive.
  void check_sizes(const unz_file_info64& info) {
    const uLong method = info.compression_method;
    check<FormatError>(method == kStored || method == kDeflated, whose(), " is compressed by method ", method,
                       ", expected ", kStored, " (stored) or ", kDeflated, " (deflated)");
    // minizip does not find the sizes that zip64 puts elsewhere.
    constexpr uint64_t kElsewhere = 0xffffffff;
    check<FormatError>(info.compressed_size < kElsewhere && info.uncompressed_size < kElsewhere, whose(),
                       " is described in the zip64 format, as one of 4 GiB or more, which is not supported");
    check<FormatError>(info.compressed_size <= left_, whose(), " is said to take ", info.compressed_size,
                       " bytes of the archive, where at most ", left_, " are left");
    left_ -= info.compressed_size;
    const bool possible = method == kStored ? info.uncompressed_size == info.compressed_size
                                            : info.uncompressed_size / kMostDeflated <= info.compressed_size;
    check<FormatError>(possible, whose(), " is said to hold ", info.uncompressed_size, " bytes, which its ",
                       info.compressed_size, " bytes in the archive cannot be");
  }

  ZipMemory memory_;
  std::unique_ptr<void, Close> archive_;
  bool first_ = true;
  uint64_t left_;  // bytes of the archive that no member seen so far has
  std::set<std::string> names_;
  ZipMember member_;              // the current one
  std::vector<std::byte> bytes_;  // of it, as far as they have been read
};

}  // namespace

void read_zip(std::span<const std::byte> archive, const ZipVisitor& visitor) {
  if (is_empty(archive)) return;
  ZipReader reader(archive);
  while (reader.next()) {
    visitor.accept(reader.current(), reader.beginning(visitor.beginning));
    visitor.take(reader.current(), reader.bytes());
  }
}

}  // namespace thimble::detail
