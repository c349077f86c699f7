#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <new>

#include <zlib.h>

#include <thimble/core/error.h>
#include <thimble/core/text.h>
#include <thimble/nn/data/byte_reader.h>

namespace thimble::data {

class ByteReader::Impl {
 public:
  explicit Impl(const std::string& path)
      : name_(detail::quote_path(path)), file_(std::fopen(path.c_str(), "rb"), &std::fclose) {
    check<IOError>(file_ != nullptr, "cannot open ", name_, ": ", std::strerror(errno));
    refill();
    // The two bytes that no IDX file begins with.
    if (stream_.avail_in >= 2 && input_[0] == 0x1f && input_[1] == 0x8b) start_inflating();
  }

  ~Impl() {
    if (gzip_) inflateEnd(&stream_);
  }

  size_t read(uint8_t* out, size_t size) {
    size_t done = 0;
    while (done < size) {
      const size_t n = gzip_ ? inflate_some(out + done, size - done) : copy_some(out + done, size - done);
      if (n == 0) break;
      done += n;
    }
    return done;
  }

 private:
  void start_inflating() {
    const int status = inflateInit2(&stream_, 16 + MAX_WBITS);  // 16: a gzip header and checksum
    if (status == Z_MEM_ERROR) throw std::bad_alloc();
    check<IOError>(status == Z_OK, "zlib cannot be used: ", zError(status));
    gzip_ = true;
  }

  // False at the end of the file.
  bool refill() {
    if (stream_.avail_in > 0) return true;
    stream_.next_in = input_.data();
    stream_.avail_in = static_cast<uInt>(std::fread(input_.data(), 1, input_.size(), file_.get()));
    check<IOError>(!std::ferror(file_.get()), "cannot read ", name_, ": ", std::strerror(errno));
    return stream_.avail_in > 0;
  }

  size_t copy_some(uint8_t* out, size_t size) {
    if (!refill()) return 0;
    const size_t n = std::min<size_t>(size, stream_.avail_in);
    std::memcpy(out, stream_.next_in, n);
    stream_.next_in += n;
    stream_.avail_in -= static_cast<uInt>(n);
    return n;
  }

  // 0 only at the end of the last member, its checksum verified.
  size_t inflate_some(uint8_t* out, size_t size) {
    stream_.next_out = out;
    const auto room = static_cast<uInt>(std::min<size_t>(size, size_t{1} << 20));
    stream_.avail_out = room;
    while (stream_.avail_out == room) {
      const bool more = refill();
      if (!more && member_ended_) return 0;
      check<FormatError>(more, name_, ": the gzip data ends too early");
      if (member_ended_) inflateReset(&stream_);  // a gzip file may be several, one after the other
      const int status = inflate(&stream_, Z_NO_FLUSH);
      if (status == Z_MEM_ERROR) throw std::bad_alloc();
      check<FormatError>(status == Z_OK || status == Z_STREAM_END || status == Z_BUF_ERROR, name_,
                         ": the gzip data is damaged: ", stream_.msg ? stream_.msg : zError(status));
      member_ended_ = status == Z_STREAM_END;
    }
    return room - stream_.avail_out;
  }

  std::string name_;  // the path, for messages
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
  std::array<Bytef, 1 << 16> input_;
  z_stream stream_{};
  bool gzip_ = false;
  bool member_ended_ = false;
};

ByteReader::ByteReader(const std::string& path) : impl_(std::make_unique<Impl>(path)) {}
ByteReader::~ByteReader() = default;
size_t ByteReader::read(uint8_t* out, size_t size) { return impl_->read(out, size); }

}  // namespace thimble::data
