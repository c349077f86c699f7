// Zip archives in memory: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT. Internal to serialization.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace thimble::detail {

/// A member of an archive, as its directory describes it.
struct ZipMember {
  std::string name;
  uint64_t size = 0;  ///< uncompressed
};

/// What is done with the members of an archive.
struct ZipVisitor {
  size_t beginning = 0;  ///< how many of a member's first bytes accept() gets, or all if there are fewer
  /// Throws if the member is not wanted.
  std::function<void(const ZipMember& member, std::span<const std::byte> beginning)> accept;
  std::function<void(const ZipMember& member, std::vector<std::byte> bytes)> take;
};

/// Visits each member of an archive that is not trusted, in its order. Members may be stored or deflated. One that was
/// accepted gets memory for its size once, at most 1032 times what it takes in the archive, which is what deflate
/// compresses at most. Throws FormatError that names the member for an archive that is damaged, encrypted or compressed
/// in another way, for members that its directory describes in the zip64 format, as those of 4 GiB or more (and from
/// 2 GiB on those that Python writes), and for names that repeat or are not UTF-8.
void read_zip(std::span<const std::byte> archive, const ZipVisitor& visitor);

/// Makes an archive of stored members. The same members give the same bytes: no member has a date.
class ZipWriter {
 public:
  ZipWriter();
  ~ZipWriter();

  /// Adds a member of these bytes, one piece after the other. Throws ValueError for a name that is there already, holds
  /// a zero byte, is not UTF-8 or is longer than the format allows, and for archives of 4 GiB or more.
  void add(const std::string& name, std::initializer_list<std::span<const std::byte>> pieces);
  /// The archive; nothing more can be added.
  std::vector<std::byte> finish();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace thimble::detail
