// Reads the bytes of a file that may be compressed. Internal to nn.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace thimble::data {

/// A file's bytes in order, inflated if they begin as gzip (RFC 1952) does, whatever the file's name. Nothing is read
/// or inflated ahead of what is asked for but a buffer of fixed size.
class ByteReader {
 public:
  /// Throws IOError if the file cannot be opened.
  explicit ByteReader(const std::string& path);
  ~ByteReader();

  /// Reads `size` bytes, fewer only at the end of the data; returns how many. Throws IOError if the system cannot read,
  /// FormatError for compressed data that is damaged or ends too early.
  size_t read(uint8_t* out, size_t size);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace thimble::data
