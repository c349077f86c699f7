#include <algorithm>
#include <new>
#include <set>
#include <utility>

#include <minizip/zip.h>

#include <thimble/core/error.h>
#include <thimble/core/text.h>
#include <thimble/serialization/zip.h>
#include <thimble/serialization/zip_memory.h>

namespace thimble::detail {

namespace {

constexpr size_t kLongestName = 65535;
constexpr uint64_t kMostWithoutZip64 = 0xfffffffe;
constexpr uLong kVersionMadeBy = 20, kNamesAreUtf8 = 1 << 11;
constexpr uLong kFirstOfJanuary1980 = 1 << 21 | 1 << 16;  // the earliest date; minizip takes 0 for none given

}  // namespace

class ZipWriter::Impl {
 public:
  Impl() {
    zlib_filefunc64_def functions = memory_.functions();
    archive_ = zipOpen2_64("", APPEND_STATUS_CREATE, nullptr, &functions);
    if (!archive_) throw std::bad_alloc();
  }
  ~Impl() { close(); }

  void add(const std::string& name, std::initializer_list<std::span<const std::byte>> pieces) {
    check_name(name);
    uint64_t size = 0;
    for (const auto& piece : pieces) size += piece.size();
    check<ValueError>(bytes_.size() + size <= kMostWithoutZip64, "zip: with member ", quote(name), " the archive has ",
                      bytes_.size() + size, " bytes, which zip64 is needed for; at most ", kMostWithoutZip64,
                      " are supported");
    open_member(name);
    for (const auto& piece : pieces) write(piece);
    check_written(zipCloseFileInZip(archive_));
  }

  std::vector<std::byte> finish() {
    check_written(close());
    return std::move(bytes_);
  }

 private:
  // That there is no memory left is the only way in which writing to memory fails.
  void check_written(int status) const {
    if (status != ZIP_OK || memory_.out_of_memory) throw std::bad_alloc();
  }

  void check_name(const std::string& name) {
    check<ValueError>(is_utf8(name) && name.find('\0') == std::string::npos, "zip: member name ", quote(name),
                      " is not UTF-8 or holds a zero byte");
    check<ValueError>(name.size() <= kLongestName, "zip: member name ", quote(name), " has ", name.size(),
                      " bytes, the format allows ", kLongestName);
    check<ValueError>(names_.insert(name).second, "zip: two members are named ", quote(name));
  }

  void open_member(const std::string& name) {
    const zip_fileinfo info{.tmz_date = {}, .dosDate = kFirstOfJanuary1980, .internal_fa = 0, .external_fa = 0};
    constexpr int kAsIs = 0, kZip64 = 0;
    const int status =
        zipOpenNewFileInZip4_64(archive_, name.c_str(), &info, nullptr, 0, nullptr, 0, nullptr, kAsIs, 0, 0, -MAX_WBITS,
                                DEF_MEM_LEVEL, Z_DEFAULT_STRATEGY, nullptr, 0, kVersionMadeBy, kNamesAreUtf8, kZip64);
    check_written(status);
  }

  void write(std::span<const std::byte> bytes) {
    constexpr size_t kLargestPiece = 1 << 30;  // minizip counts in unsigned int
    while (!bytes.empty()) {
      const size_t n = std::min(bytes.size(), kLargestPiece);
      check_written(zipWriteInFileInZip(archive_, bytes.data(), static_cast<unsigned>(n)));
      bytes = bytes.subspan(n);
    }
  }

  int close() { return archive_ ? zipClose(std::exchange(archive_, nullptr), nullptr) : ZIP_OK; }

  std::vector<std::byte> bytes_;
  ZipMemory memory_{.written = &bytes_};
  zipFile archive_ = nullptr;
  std::set<std::string> names_;
};

ZipWriter::ZipWriter() : impl_(std::make_unique<Impl>()) {}
ZipWriter::~ZipWriter() = default;
void ZipWriter::add(const std::string& name, std::initializer_list<std::span<const std::byte>> pieces) {
  impl_->add(name, pieces);
}
std::vector<std::byte> ZipWriter::finish() { return impl_->finish(); }

}  // namespace thimble::detail
