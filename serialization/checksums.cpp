#include <array>

#include <zlib.h>

#include <thimble/core/error.h>
#include <thimble/core/text.h>
#include <thimble/serialization/checksums.h>

namespace thimble::detail {

namespace {

constexpr size_t kDigits = 8, kStride = kDigits + 1;
// Where the header's sum stands is known without parsing: only so its own digits can be left out of it.
constexpr std::string_view kBeforeHeaderSum = R"({"__metadata__":{"thimble.crc32":")";

std::string hex(uint32_t sum) {
  std::string digits(kDigits, '0');
  for (size_t i = kDigits; i-- > 0; sum >>= 4) digits[i] = "0123456789abcdef"[sum & 15];
  return digits;
}

uint32_t header_sum(std::string_view text) {
  std::array<char, 8> length;
  for (size_t i = 0; i < length.size(); ++i) length[i] = static_cast<char>(uint64_t{text.size()} >> 8 * i);
  uint32_t sum = crc32(kBeforeHeaderSum, crc32({length.data(), length.size()}));
  sum = crc32(std::string(kDigits, '0'), sum);
  return crc32(text.substr(kBeforeHeaderSum.size() + kDigits), sum);
}

void check_sum(const std::string& of, std::string_view got, std::string_view expected) {
  check<FormatError>(got == expected, of, " has checksum ", got, ", expected ", quote(expected),
                     "; the file is damaged");
}

}  // namespace

uint32_t crc32(std::string_view bytes, uint32_t before) {
  return static_cast<uint32_t>(crc32_z(before, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

uint32_t crc32_of(const NDArray& array, uint32_t before) {
  const NDArray dense = array.contiguous();
  return crc32({static_cast<const char*>(dense.raw()), static_cast<size_t>(dense.nbytes())}, before);
}

std::string format_checksums(const std::vector<uint32_t>& tensors) {
  std::string text(kDigits, '0');
  for (const uint32_t sum : tensors) text += ' ' + hex(sum);
  return text;
}

void seal_header(std::string& text) { text.replace(kBeforeHeaderSum.size(), kDigits, hex(header_sum(text))); }

void verify_header(std::string_view text, std::string_view checksums, size_t tensors) {
  check<FormatError>(text.starts_with(kBeforeHeaderSum) && text.size() >= kBeforeHeaderSum.size() + kDigits,
                     "header does not begin with its checksums: another program has changed it");
  check_sum("header", hex(header_sum(text)), text.substr(kBeforeHeaderSum.size(), kDigits));
  check<FormatError>(checksums.size() == kDigits + kStride * tensors, "header has checksums of ", checksums.size(),
                     " characters, expected ", kDigits + kStride * tensors, " for ", tensors, " tensors");
}

void verify_tensor(std::string_view bytes, std::string_view checksums, size_t index, const std::string& name) {
  check_sum("tensor " + quote(name), hex(crc32(bytes)), checksums.substr(kStride * (index + 1), kDigits));
}

}  // namespace thimble::detail
