// IDX files that are compressed. Half of the mutations are made of what is compressed: the checksum of a gzip file lets
// few others through.
#include <zlib.h>

#include "tests/fuzz/fuzz.h"
#include <thimble/nn/data/idx.h>

using namespace thimble;

namespace {

constexpr int kGzip = 16 + MAX_WBITS;
constexpr size_t kMostInflated = 1 << 16;

// What can be inflated of the bytes, which need not be sound.
std::string inflated(const uint8_t* data, size_t size) {
  std::string out(kMostInflated, '\0');
  z_stream stream{};
  if (inflateInit2(&stream, kGzip) != Z_OK) return "";
  stream.next_in = const_cast<Bytef*>(data);
  stream.avail_in = static_cast<uInt>(size);
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  inflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  inflateEnd(&stream);
  return out;
}

size_t deflate_into(uint8_t* data, size_t max_size, std::string& plain) {
  z_stream stream{};
  if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, kGzip, 1, Z_DEFAULT_STRATEGY) != Z_OK) return 0;
  stream.next_in = reinterpret_cast<Bytef*>(plain.data());
  stream.avail_in = static_cast<uInt>(plain.size());
  stream.next_out = data;
  stream.avail_out = static_cast<uInt>(max_size);
  const int status = deflate(&stream, Z_FINISH);
  const size_t size = stream.total_out;
  deflateEnd(&stream);
  return status == Z_STREAM_END ? size : 0;
}

}  // namespace

size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  if (seed % 2 == 0) return LLVMFuzzerMutate(data, size, max_size);
  std::string plain = inflated(data, size);
  fuzz::mutate_bytes(plain, kMostInflated);
  const size_t deflated = deflate_into(data, max_size, plain);
  return deflated > 0 ? deflated : LLVMFuzzerMutate(data, size, max_size);
}

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::survive_file(data, size, [](const auto& path) { fuzz::touch(data::read_idx(path)); });
  return 0;
}
