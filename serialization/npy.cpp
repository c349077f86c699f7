#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include <thimble/core/platform/mapped_file.h>
#include <thimble/core/text.h>
#include <thimble/serialization/atomic_file.h>
#include <thimble/serialization/file_array.h>
#include <thimble/serialization/npy.h>
#include <thimble/serialization/npy_header.h>
#include <thimble/serialization/reading.h>

namespace thimble {

namespace {

using detail::NpyHeader;

constexpr std::string_view kMagic = "\x93NUMPY";

uint64_t little_endian(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < bytes.size(); ++i) value |= uint64_t{static_cast<unsigned char>(bytes[i])} << 8 * i;
  return value;
}

// Takes the header, with all that precedes it, off the front of a file's bytes.
NpyHeader take_header(std::string_view& bytes) {
  check<FormatError>(bytes.starts_with(kMagic), "begins with ", detail::quote(bytes.substr(0, kMagic.size())),
                     ", expected ", detail::quote(kMagic));
  const size_t version_end = kMagic.size() + 2;
  check<FormatError>(bytes.size() >= version_end, "ends after ", bytes.size(), " bytes, within the format's version");
  const int major = static_cast<unsigned char>(bytes[kMagic.size()]),
            minor = static_cast<unsigned char>(bytes[kMagic.size() + 1]);
  check<FormatError>(major >= 1 && major <= 3 && minor == 0, "has format version ", major, '.', minor,
                     ", expected 1.0, 2.0 or 3.0");
  const size_t begin = version_end + (major == 1 ? 2 : 4);
  check<FormatError>(bytes.size() >= begin, "ends after ", bytes.size(), " bytes, within the header's length");
  const uint64_t length = little_endian(bytes.substr(version_end, begin - version_end));
  check<FormatError>(length <= detail::kMaxNpyHeaderBytes, "the header is said to have ", length,
                     " bytes, expected at most ", detail::kMaxNpyHeaderBytes);
  check<FormatError>(length <= bytes.size() - begin, "the header is said to have ", length, " bytes, but only ",
                     bytes.size() - begin, " follow");
  const NpyHeader header = detail::parse_npy_header(bytes.substr(begin, length));
  bytes.remove_prefix(begin + length);
  return header;
}

std::shared_ptr<std::byte[]> swapped(const std::byte* data, size_t size, size_t itemsize) {
  std::shared_ptr<std::byte[]> out(new std::byte[size]);
  for (size_t i = 0; i < size; i += itemsize) std::reverse_copy(data + i, data + i + itemsize, out.get() + i);
  return out;
}

// The elements of a column-major array are those of its transpose, row-major.
NDArray column_major(std::byte* data, const NpyHeader& h, const std::shared_ptr<void>& owner) {
  Shape reversed, axes;
  for (int axis = h.shape.ndim() - 1; axis >= 0; --axis) {
    reversed.push_back(h.shape[axis]);
    axes.push_back(axis);
  }
  return detail::array_over(data, reversed, h.dtype, owner).permute(axes).contiguous();
}

size_t bytes_of_elements(const NpyHeader& h) { return static_cast<size_t>(h.shape.numel()) * itemsize(h.dtype); }

// The header at the front of a file of `size` bytes, and the number of bytes that it takes.
std::pair<NpyHeader, size_t> checked_header(std::string_view beginning, uint64_t size) {
  std::string_view rest = beginning;
  const NpyHeader h = take_header(rest);
  const size_t before = beginning.size() - rest.size();
  check<FormatError>(size - before == bytes_of_elements(h), "has ", size - before, " bytes of elements, expected ",
                     bytes_of_elements(h), " for ", h.descr, h.shape);
  return {h, before};
}

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

void detail::check_npy(std::span<const std::byte> beginning, uint64_t size) {
  checked_header(as_text(beginning), size);
}

NDArray detail::npy_array(std::byte* data, size_t size, const std::shared_ptr<void>& owner) {
  const auto [h, before] = checked_header(as_text({data, size}), size);
  const size_t expected = bytes_of_elements(h);
  std::byte* elements = data + before;
  std::shared_ptr<void> keeper = owner;
  if (h.big_endian) {
    const auto copy = swapped(elements, expected, itemsize(h.dtype));
    elements = copy.get();
    keeper = copy;
  }
  return h.fortran_order ? column_major(elements, h, keeper) : detail::array_over(elements, h.shape, h.dtype, keeper);
}

NDArray detail::as_npy(const NDArray& array) {
  return (array.dtype() == DType::bfloat16 ? array.to(DType::float32) : array).contiguous();
}

std::string detail::npy_header(const NDArray& array) {
  const std::string dict = format_npy_header(array.dtype(), array.shape());
  constexpr size_t kHeaderAlignment = 64;
  const size_t before = kMagic.size() + 4,
               total = (before + dict.size() + kHeaderAlignment) / kHeaderAlignment * kHeaderAlignment;
  const size_t length = total - before;
  std::string out(kMagic);
  out += {'\1', '\0', static_cast<char>(length & 0xff), static_cast<char>(length >> 8)};
  out += dict + std::string(length - dict.size() - 1, ' ') + '\n';
  return out;
}

NDArray load_npy(const std::filesystem::path& path, const LoadOptions& options) {
  return detail::reading(path, [&] {
    const auto file = std::make_shared<MappedFile>(path, options.mapped);
    return detail::npy_array(file->data(), file->size(), file);
  });
}

void save_npy(const std::filesystem::path& path, const NDArray& array) {
  check<ValueError>(array.defined(), "save_npy: the array is undefined");
  const NDArray dense = detail::as_npy(array);
  const std::string header = detail::npy_header(dense);
  AtomicFile file(path);
  file.write(header.data(), header.size());
  file.write(dense.raw(), static_cast<size_t>(dense.nbytes()));
  file.commit();
}

}  // namespace thimble
