#include <csetjmp>
#include <cstring>

#include <png.h>

#include <thimble/core/error.h>
#include <thimble/core/text.h>
#include <thimble/nn/images/decoders.h>

namespace thimble::data {

namespace {

// libpng says that something is wrong by jumping back. So what it calls, and what calls it (`guarded` and the functions
// that it is given), has nothing that would have to be destroyed; errors become exceptions when all jumps are over.
class PngReader {
 public:
  explicit PngReader(std::span<const uint8_t> file) : rest_(file) {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, on_error, on_warning);
    if (!png_) throw std::bad_alloc();
    info_ = png_create_info_struct(png_);
    if (!info_) {
      png_destroy_read_struct(&png_, nullptr, nullptr);
      throw std::bad_alloc();
    }
    png_set_read_fn(png_, this, on_read);
  }
  ~PngReader() { png_destroy_read_struct(&png_, &info_, nullptr); }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;

  const char* error() const { return error_; }
  DecodedImage& image() { return image_; }

  // False if libpng has an error. To 8 bits of 1 or 3 channels.
  bool read_header() {
    return guarded([](PngReader& r) {
      png_set_user_limits(r.png_, kMostImageSide, kMostImageSide);
      // Texts, profiles and palettes to choose from are passed over: libpng would inflate and keep each of them.
      png_set_keep_unknown_chunks(r.png_, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
      png_read_info(r.png_, r.info_);
      png_set_palette_to_rgb(r.png_);
      if (png_get_color_type(r.png_, r.info_) == PNG_COLOR_TYPE_GRAY) png_set_expand_gray_1_2_4_to_8(r.png_);
      png_set_scale_16(r.png_);
      png_set_strip_alpha(r.png_);
      png_set_interlace_handling(r.png_);
      r.packed_bits_ = png_get_bit_depth(r.png_, r.info_) * png_get_channels(r.png_, r.info_);
      png_read_update_info(r.png_, r.info_);
      r.image_.height = png_get_image_height(r.png_, r.info_);
      r.image_.width = png_get_image_width(r.png_, r.info_);
      r.image_.channels = png_get_channels(r.png_, r.info_);
      r.row_bytes_ = png_get_rowbytes(r.png_, r.info_);
    });
  }
  // The bytes of `rows`, one pointer for each.
  bool read_rows(std::vector<png_bytep>& rows) {
    rows_ = rows.data();
    return guarded([](PngReader& r) {
      png_read_image(r.png_, r.rows_);
      png_read_end(r.png_, nullptr);
    });
  }
  // Of the picture as it is packed in the file.
  double bytes_before_compression() const {
    return static_cast<double>(image_.height) * static_cast<double>(image_.width) * packed_bits_ / 8;
  }
  bool rows_are_bytes() const {
    return row_bytes_ == static_cast<size_t>(image_.width * image_.channels) &&
           (image_.channels == 1 || image_.channels == 3);
  }

 private:
  bool guarded(void (*f)(PngReader&)) {
    if (setjmp(png_jmpbuf(png_))) return false;
    f(*this);
    return true;
  }

  static PngReader& of(void* reader) { return *static_cast<PngReader*>(reader); }
  [[noreturn]] static void on_error(png_structp png, png_const_charp message) {
    PngReader& reader = of(png_get_error_ptr(png));
    std::strncpy(reader.error_, message, sizeof(reader.error_) - 1);
    png_longjmp(png, 1);
  }
  static void on_warning(png_structp, png_const_charp) {}
  static void on_read(png_structp png, png_bytep out, size_t size) {
    PngReader& reader = of(png_get_io_ptr(png));
    if (size > reader.rest_.size()) png_error(png, "the file ends too early");
    std::memcpy(out, reader.rest_.data(), size);
    reader.rest_ = reader.rest_.subspan(size);
  }

  std::span<const uint8_t> rest_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  png_bytepp rows_ = nullptr;
  size_t row_bytes_ = 0;
  int packed_bits_ = 0;
  DecodedImage image_;
  char error_[200] = {};
};

[[noreturn]] void throw_damaged(const PngReader& reader, const std::string& name) {
  throw FormatError(str(name, ": no sound PNG: ", detail::printable(reader.error())));
}

int64_t number_at(std::span<const uint8_t> file, size_t at) {
  return static_cast<int64_t>(png_get_uint_32(file.data() + at));
}

}  // namespace

// The header follows the 8 bytes that make it a PNG, the length of the header and its name.
ImageSize png_size(std::span<const uint8_t> file, const std::string& name) {
  check<FormatError>(file.size() >= 24 && std::memcmp(file.data() + 12, "IHDR", 4) == 0, name,
                     ": no sound PNG: it does not begin with its header");
  return {number_at(file, 20), number_at(file, 16)};
}

DecodedImage decode_png(std::span<const uint8_t> file, const std::string& name, int64_t max_pixels) {
  constexpr double kMostDeflated = 1032;  // bytes that one byte can become
  check_image_size(name, png_size(file, name), max_pixels);
  PngReader reader(file);
  if (!reader.read_header()) throw_damaged(reader, name);
  DecodedImage& image = reader.image();
  check<FormatError>(reader.bytes_before_compression() <= kMostDeflated * static_cast<double>(file.size()), name,
                     ": no file of ", file.size(), " bytes holds a picture of ", image.height, " x ", image.width,
                     " pixels");
  check<FormatError>(reader.rows_are_bytes(), name, ": a PNG of ", image.channels, " channels");
  const auto row = static_cast<size_t>(image.width * image.channels);
  image.bytes.resize(row * static_cast<size_t>(image.height));
  std::vector<png_bytep> rows;
  for (size_t y = 0; y < static_cast<size_t>(image.height); ++y) rows.push_back(image.bytes.data() + y * row);
  if (!reader.read_rows(rows)) throw_damaged(reader, name);
  return std::move(image);
}

}  // namespace thimble::data
