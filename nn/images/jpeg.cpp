#include <csetjmp>
#include <cstdio>
#include <utility>

#include <jerror.h>
#include <jpeglib.h>

#include <thimble/core/error.h>
#include <thimble/core/text.h>
#include <thimble/nn/images/decoders.h>

namespace thimble::data {

namespace {

// A small progressive file may have a scan after the other of a large picture.
constexpr int kMostScans = 200;

// As PngReader: libjpeg jumps back, past nothing that would have to be destroyed.
class JpegReader {
 public:
  explicit JpegReader(std::span<const uint8_t> file) : file_(file) {
    info_.err = jpeg_std_error(&errors_);
    errors_.error_exit = on_error;
    errors_.emit_message = on_message;
    info_.client_data = this;
    progress_.progress_monitor = on_progress;
  }
  ~JpegReader() {
    if (is_made_) jpeg_destroy_decompress(&info_);
  }
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;

  const char* error() const { return error_; }
  bool is_cmyk() const { return info_.jpeg_color_space == JCS_CMYK || info_.jpeg_color_space == JCS_YCCK; }
  DecodedImage& image() { return image_; }
  // Huffman codes take a bit at least for a block of 64 pixels, of which there are 4 times fewer where one component is
  // sampled in one direction only.
  bool fits(int64_t pixels) const { return info_.arith_code || pixels / 2048 <= std::ssize(file_); }

  bool read_header() {
    return guarded([](JpegReader& r) {
      jpeg_create_decompress(&r.info_);
      r.is_made_ = true;
      r.info_.progress = &r.progress_;
      jpeg_mem_src(&r.info_, r.file_.data(), r.file_.size());
      jpeg_read_header(&r.info_, TRUE);
      const bool is_grey = r.info_.jpeg_color_space == JCS_GRAYSCALE;
      r.info_.out_color_space = is_grey ? JCS_GRAYSCALE : JCS_RGB;
      r.image_.height = r.info_.image_height;
      r.image_.width = r.info_.image_width;
      r.image_.channels = is_grey ? 1 : 3;
    });
  }
  // Into image().bytes, which is large enough.
  bool read_rows() {
    return guarded([](JpegReader& r) {
      jpeg_start_decompress(&r.info_);
      const size_t row = static_cast<size_t>(r.info_.output_width) * static_cast<size_t>(r.info_.output_components);
      while (r.info_.output_scanline < r.info_.output_height) {
        JSAMPROW at = r.image_.bytes.data() + row * r.info_.output_scanline;
        jpeg_read_scanlines(&r.info_, &at, 1);
      }
      jpeg_finish_decompress(&r.info_);
    });
  }

 private:
  bool guarded(void (*f)(JpegReader&)) {
    if (setjmp(back_)) return false;
    f(*this);
    return true;
  }

  static JpegReader& of(j_common_ptr info) { return *static_cast<JpegReader*>(info->client_data); }
  [[noreturn]] static void on_error(j_common_ptr info) {
    char message[JMSG_LENGTH_MAX];
    info->err->format_message(info, message);
    JpegReader& reader = of(info);
    std::snprintf(reader.error_, sizeof(reader.error_), "%s", message);
    std::longjmp(reader.back_, 1);
  }
  // Warnings are of pixels that are wrong, but for a few.
  static void on_message(j_common_ptr info, int level) {
    if (level >= 0) return;
    switch (info->err->msg_code) {
      case JWRN_ADOBE_XFORM:
      case JWRN_BOGUS_ICC:
      case JWRN_EXTRANEOUS_DATA:
      case JWRN_JFIF_MAJOR:
      case JWRN_TOO_MUCH_DATA:
        return;
      default:
        on_error(info);
    }
  }
  static void on_progress(j_common_ptr info) {
    if (reinterpret_cast<j_decompress_ptr>(info)->input_scan_number <= kMostScans) return;
    JpegReader& reader = of(info);
    std::snprintf(reader.error_, sizeof(reader.error_), "more than %d scans", kMostScans);
    std::longjmp(reader.back_, 1);
  }

  std::span<const uint8_t> file_;
  jpeg_decompress_struct info_{};
  jpeg_error_mgr errors_{};
  jpeg_progress_mgr progress_{};
  std::jmp_buf back_;
  bool is_made_ = false;
  DecodedImage image_;
  char error_[JMSG_LENGTH_MAX] = {};
};

[[noreturn]] void throw_no_jpeg(const JpegReader& reader, const std::string& name) {
  throw FormatError(str(name, ": no sound JPEG: ", detail::printable(reader.error())));
}

}  // namespace

ImageSize jpeg_size(std::span<const uint8_t> file, const std::string& name) {
  JpegReader reader(file);
  if (!reader.read_header()) throw_no_jpeg(reader, name);
  return {reader.image().height, reader.image().width};
}

DecodedImage decode_jpeg(std::span<const uint8_t> file, const std::string& name, int64_t max_pixels) {
  JpegReader reader(file);
  if (!reader.read_header()) throw_no_jpeg(reader, name);
  check<FormatError>(!reader.is_cmyk(), name, ": is a CMYK JPEG; convert it to RGB");
  DecodedImage& image = reader.image();
  check_image_size(name, {image.height, image.width}, max_pixels);
  check<FormatError>(reader.fits(image.height * image.width), name, ": no file of ", file.size(),
                     " bytes holds a picture of ", image.height, " x ", image.width, " pixels");
  image.bytes.resize(static_cast<size_t>(image.height * image.width * image.channels));
  if (!reader.read_rows()) throw_no_jpeg(reader, name);
  return std::move(image);
}

}  // namespace thimble::data
