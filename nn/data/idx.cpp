#include <algorithm>
#include <array>
#include <bit>
#include <cstdio>
#include <cstring>
#include <limits>
#include <vector>

#include <thimble/core/text.h>
#include <thimble/nn/data/byte_reader.h>
#include <thimble/nn/data/idx.h>

namespace thimble::data {

namespace {

constexpr size_t kFirstPiece = size_t{1} << 16;

struct Header {
  DType dtype = DType::uint8;
  Shape shape;
  size_t bytes = 0;  // of the elements
};

std::string hex(unsigned byte) {
  char text[sizeof("0xffffffff")];
  std::snprintf(text, sizeof(text), "0x%02x", byte);
  return text;
}

DType dtype_of_code(uint8_t code, const std::string& name) {
  switch (code) {
    case 0x08:
      return DType::uint8;
    case 0x09:
      return DType::int8;
    case 0x0b:
      return DType::int16;
    case 0x0c:
      return DType::int32;
    case 0x0d:
      return DType::float32;
    case 0x0e:
      return DType::float64;
    default:
      throw FormatError(str(name, ": IDX type code ", hex(code), " at byte 2 is not one of 08, 09, 0b to 0e"));
  }
}

Header read_header(ByteReader& file, const std::string& name) {
  std::array<uint8_t, 4> word;
  const size_t got = file.read(word.data(), word.size());
  check<FormatError>(got == word.size(), name, ": holds ", got, " bytes, expected an IDX header of at least 4");
  check<FormatError>(word[0] == 0 && word[1] == 0, name, ": begins with ", hex(word[0]), ' ', hex(word[1]),
                     ", expected the two zero bytes of IDX, or gzip");
  Header header;
  header.dtype = dtype_of_code(word[2], name);
  const int ndim = word[3];
  check<FormatError>(ndim >= 1 && ndim <= Shape::kMaxDims, name, ": IDX header has ", ndim,
                     " dimensions, expected 1 to ", Shape::kMaxDims);
  // Zero sizes count as one: an array's strides, too, are products of sizes.
  auto extent = static_cast<int64_t>(itemsize(header.dtype));
  bool fits = true;
  for (int d = 0; d < ndim; ++d) {
    check<FormatError>(file.read(word.data(), word.size()) == word.size(), name,
                       ": ends within the IDX header, which announces ", ndim, " dimensions");
    const int64_t size = int64_t{word[0]} << 24 | word[1] << 16 | word[2] << 8 | word[3];
    header.shape.push_back(size);
    fits = fits && !__builtin_mul_overflow(extent, std::max<int64_t>(size, 1), &extent);
  }
  check<FormatError>(fits, name, ": IDX header announces ", header.shape, " elements, too many");
  header.bytes = static_cast<size_t>(header.shape.numel()) * itemsize(header.dtype);
  return header;
}

// Grows with what arrives: a header may announce anything.
std::vector<uint8_t> read_elements(ByteReader& file, const Header& header, const std::string& name) {
  std::vector<uint8_t> bytes;
  while (bytes.size() < header.bytes) {
    const size_t before = bytes.size(), piece = std::min(header.bytes - before, std::max(before, kFirstPiece));
    bytes.reserve(before + piece);
    bytes.resize(before + piece);
    const size_t got = file.read(bytes.data() + before, piece);
    check<FormatError>(got == piece, name, ": holds ", before + got, " bytes of elements, its IDX header announces ",
                       header.dtype, header.shape, " of ", header.bytes, " bytes");
  }
  uint8_t extra;
  check<FormatError>(file.read(&extra, 1) == 0, name, ": holds more than the ", header.bytes,
                     " bytes of elements that its IDX header announces for ", header.dtype, header.shape);
  return bytes;
}

void to_native_order(std::vector<uint8_t>& bytes, size_t size) {
  if (std::endian::native == std::endian::big || size == 1) return;
  for (auto at = bytes.begin(); at != bytes.end(); at += static_cast<std::ptrdiff_t>(size))
    std::reverse(at, at + static_cast<std::ptrdiff_t>(size));
}

}  // namespace

NDArray read_idx(const std::string& path) {
  const std::string name = detail::quote_path(path);  // for messages
  ByteReader file(path);
  const Header header = read_header(file, name);
  std::vector<uint8_t> bytes = read_elements(file, header, name);
  to_native_order(bytes, itemsize(header.dtype));
  NDArray out(header.shape, header.dtype);
  if (!bytes.empty()) std::memcpy(out.raw(), bytes.data(), bytes.size());
  return out;
}

}  // namespace thimble::data
