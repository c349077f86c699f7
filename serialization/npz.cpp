#include <memory>
#include <span>

#include <thimble/core/platform/mapped_file.h>
#include <thimble/core/text.h>
#include <thimble/serialization/atomic_file.h>
#include <thimble/serialization/npy.h>
#include <thimble/serialization/npz.h>
#include <thimble/serialization/reading.h>
#include <thimble/serialization/zip.h>

namespace thimble {

namespace {

constexpr std::string_view kArraySuffix = ".npy";

NDArray array_of(std::vector<std::byte> bytes) {
  const auto owner = std::make_shared<std::vector<std::byte>>(std::move(bytes));
  return detail::npy_array(owner->data(), owner->size(), owner);
}

std::string array_name(const detail::ZipMember& member) {
  return member.name.substr(0, member.name.size() - kArraySuffix.size());
}

// Before memory is taken for the member.
void check_member(const detail::ZipMember& member, std::span<const std::byte> beginning) {
  check<FormatError>(member.name.ends_with(kArraySuffix), "member ", detail::quote(member.name),
                     " is not an array, expected ", kArraySuffix, " at the end of its name");
  try {
    detail::check_npy(beginning, member.size);
  } catch (const FormatError& error) {
    throw FormatError(str("array ", detail::quote(array_name(member)), ": ", error.what()));
  }
}

NamedArrays read(const MappedFile& file) {
  NamedArrays arrays;
  const auto take = [&](const detail::ZipMember& member, std::vector<std::byte> bytes) {
    arrays.emplace_back(array_name(member), array_of(std::move(bytes)));
  };
  detail::read_zip({file.data(), file.size()},
                   {.beginning = detail::kNpyHeaderLimit, .accept = check_member, .take = take});
  return arrays;
}

}  // namespace

NamedArrays load_npz(const std::filesystem::path& path, const LoadOptions& options) {
  return detail::reading(path, [&] { return read(MappedFile(path, options.mapped)); });
}

void save_npz(const std::filesystem::path& path, const NamedArrays& arrays) {
  detail::ZipWriter zip;
  for (const auto& [name, array] : arrays) {
    check<ValueError>(array.defined(), "save_npz: array ", detail::quote(name), " is undefined");
    const NDArray dense = detail::as_npy(array);
    const std::string header = detail::npy_header(dense);
    const std::span elements(static_cast<const std::byte*>(dense.raw()), static_cast<size_t>(dense.nbytes()));
    zip.add(name + std::string(kArraySuffix), {std::as_bytes(std::span(header)), elements});
  }
  const std::vector<std::byte> bytes = zip.finish();
  AtomicFile file(path);
  file.write(bytes.data(), bytes.size());
  file.commit();
}

}  // namespace thimble
