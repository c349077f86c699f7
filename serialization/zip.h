// Zip archives in memory: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT. Internal to serialization.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace thimble::detail {

/// Calls `member` with the name and the bytes of each member of an archive that is not trusted, in its order. Members
/// may be stored or deflated. All of them together take no more memory than the archive's size times 1032, what deflate
/// compresses at most, and that only if they really hold so much. Throws FormatError that names the member for an
/// archive that is damaged, encrypted or compressed in another way, and for names that repeat or are not UTF-8.
void read_zip(std::span<const std::byte> archive,
              const std::function<void(const std::string& name, std::vector<std::byte> bytes)>& member);

/// Makes an archive of stored members. The same members give the same bytes: no member has a date.
class ZipWriter {
 public:
  ZipWriter();
  ~ZipWriter();

  /// Adds a member of these bytes, one piece after the other. Throws ValueError for a name that is there already, holds
  /// a zero byte, is not UTF-8 or is longer than the format allows.
  void add(const std::string& name, std::initializer_list<std::span<const std::byte>> pieces);
  /// The archive; nothing more can be added.
  std::vector<std::byte> finish();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace thimble::detail
