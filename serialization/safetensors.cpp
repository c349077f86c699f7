#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <numeric>

#include <thimble/core/platform/mapped_file.h>
#include <thimble/core/text.h>
#include <thimble/serialization/atomic_file.h>
#include <thimble/serialization/checksums.h>
#include <thimble/serialization/file_array.h>
#include <thimble/serialization/format_metadata.h>
#include <thimble/serialization/reading.h>
#include <thimble/serialization/safetensors.h>
#include <thimble/serialization/safetensors_header.h>

namespace thimble {

namespace {

using detail::SafetensorsHeader;
using detail::TensorRecord;

constexpr size_t kLengthBytes = 8;

// The order of the data: widest first, so that each tensor begins at a multiple of its element size without holes.
std::vector<size_t> data_order(const std::vector<TensorRecord>& tensors) {
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::sort(order, [&](size_t a, size_t b) {
    const size_t width_a = tensors[a].type->bits, width_b = tensors[b].type->bits;
    return width_a != width_b ? width_a > width_b : tensors[a].name < tensors[b].name;
  });
  return order;
}

using Metadata = std::map<std::string, std::string>;
using ForeignTensors = std::map<std::string, ForeignTensor>;

TensorRecord record_of(const std::string& name, const NDArray& array, const ForeignTensors& foreign) {
  check<ValueError>(array.defined(), "save: tensor ", detail::quote(name), " is undefined");
  const auto it = foreign.find(name);
  if (it == foreign.end()) return {name, &detail::stored_type(array.dtype()), array.shape(), 0, 0};
  const auto& [dtype, shape] = it->second;
  const detail::StoredType* type = detail::find_stored_type(dtype);
  check<ValueError>(type != nullptr, "save: tensor ", detail::quote(name), " has dtype ", detail::quote(dtype),
                    ", which the format lacks");
  const auto bytes = detail::stored_bytes(*type, shape);
  check<ValueError>(array.dtype() == DType::uint8 && bytes == static_cast<uint64_t>(array.nbytes()), "save: tensor ",
                    detail::quote(name), " is ", describe(array), ", expected the uint8 bytes of ", dtype, shape);
  return {name, type, shape, 0, 0};
}

struct Layout {
  SafetensorsHeader header;
  std::vector<size_t> order;  // of the tensors' data
  uint64_t data_bytes = 0;
};

Layout layout_of(const Metadata& metadata, const NamedArrays& tensors, const ForeignTensors& foreign) {
  SafetensorsHeader header{metadata, {}};
  for (const auto& [name, array] : tensors) header.tensors.push_back(record_of(name, array, foreign));
  Layout layout{{}, data_order(header.tensors), 0};
  for (const size_t i : layout.order) {
    header.tensors[i].begin = layout.data_bytes;
    header.tensors[i].end = layout.data_bytes += static_cast<uint64_t>(tensors[i].second.nbytes());
  }
  layout.header = std::move(header);
  return layout;
}

// Weights in integers are packed, once, and the file's memory is let go of. Smaller ones are not worth memory of their
// own, nor are floats, most of which are parameters that are read as they lie.
bool is_unread(const TensorRecord& tensor, const MappedFile& file) {
  constexpr uint64_t kLeast = 128 << 10;
  return file.is_mapped() && tensor.type->dtype == DType::int8 && tensor.end - tensor.begin >= kLeast;
}

NDArray read_tensor(const TensorRecord& tensor, std::byte* data, const std::shared_ptr<MappedFile>& file) {
  data += tensor.begin;
  if (is_unread(tensor, *file))
    return NDArray::unread(file, static_cast<size_t>(data - file->data()), tensor.shape, DType::int8);
  if (tensor.type->dtype) return detail::array_over(data, tensor.shape, *tensor.type->dtype, file);
  const Shape bytes{static_cast<int64_t>(tensor.end - tensor.begin)};
  return detail::array_over(data, tensor.type->bits == 8 ? tensor.shape : bytes, DType::uint8, file);
}

struct Contents {
  SafetensorsHeader header;
  std::string_view text;  // of the header
  std::byte* data;
};

Contents contents_of(const MappedFile& file) {
  check<FormatError>(file.size() >= kLengthBytes, "the file has ", file.size(), " bytes, expected at least ",
                     kLengthBytes, " (the length of the header); this is not a safetensors file");
  uint64_t length = 0;
  std::memcpy(&length, file.data(), kLengthBytes);
  const uint64_t rest = file.size() - kLengthBytes;
  check<FormatError>(length <= detail::kMaxHeaderBytes, "the header is said to have ", length,
                     " bytes, expected at most ", detail::kMaxHeaderBytes, "; this is not a safetensors file");
  std::byte* text = file.data() + kLengthBytes;
  const bool has_header = rest > 0 && static_cast<char>(*text) == '{';
  check<FormatError>(length <= rest, "the header is said to have ", length, " bytes, but only ", rest, " follow; ",
                     has_header ? "the file is cut short" : "the file is cut short, or this is not a safetensors file");
  check<FormatError>(has_header, "the header begins with ",
                     detail::quote({reinterpret_cast<const char*>(text), std::min<size_t>(length, 1)}),
                     ", expected '{'; this is not a safetensors file");
  const std::string_view header(reinterpret_cast<const char*>(text), length);
  return {detail::parse_safetensors_header(header, rest - length), header, text + length};
}

TensorFile read(Contents contents, const std::shared_ptr<MappedFile>& file) {
  TensorFile out{std::move(contents.header.metadata), {}, {}};
  out.tensors.reserve(contents.header.tensors.size());
  for (TensorRecord& tensor : contents.header.tensors) {
    NDArray array = read_tensor(tensor, contents.data, file);
    if (!tensor.type->dtype) out.foreign[tensor.name] = {std::string(tensor.type->name), tensor.shape};
    out.tensors.emplace_back(std::move(tensor.name), std::move(array));
  }
  return out;
}

// Models have them since format version 1.1, training states since 1.0: where they are missing, their name is damaged.
// What a later major version does is not for us to say.
bool must_have_checksums(const std::map<std::string, std::string>& metadata) {
  const auto format = metadata.find("format"), version = metadata.find("format_version");
  if (format == metadata.end() || version == metadata.end() || !version->second.starts_with("1.")) return false;
  return format->second == detail::kTrainingStateFormat ||
         (format->second == detail::kModelFormat && version->second != "1.0");
}

bool verify(const Contents& contents) {
  if (!contents.header.checksums) {
    check<FormatError>(!must_have_checksums(contents.header.metadata), "its checksums ('", detail::kChecksumsKey,
                       "') are missing; the file is damaged, or another program has changed it");
    return false;
  }
  const std::vector<TensorRecord>& tensors = contents.header.tensors;
  detail::verify_header(contents.text, *contents.header.checksums, tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    const auto* bytes = reinterpret_cast<const char*>(contents.data + tensors[i].begin);
    detail::verify_tensor({bytes, tensors[i].end - tensors[i].begin}, *contents.header.checksums, i, tensors[i].name);
  }
  return true;
}

void save(const std::filesystem::path& path, const Layout& layout, const NamedArrays& tensors,
          std::string_view prefix) {
  // The sums come first in the file, which may be a pipe: a strided tensor's copy is kept, or it would be made twice.
  std::vector<NDArray> dense;
  std::vector<uint32_t> checksums;
  for (const auto& [name, array] : tensors)
    checksums.push_back(detail::crc32_of(dense.emplace_back(array.contiguous())));
  const std::string header = format_safetensors_header(layout.header, checksums);
  const uint64_t length = header.size();

  AtomicFile file(path, prefix);
  file.write(&length, kLengthBytes);
  file.write(header.data(), header.size());
  for (const size_t i : layout.order) file.write(dense[i].raw(), static_cast<size_t>(dense[i].nbytes()));
  file.commit();
}

}  // namespace

uint64_t safetensors_size(const Metadata& metadata, const NamedArrays& tensors) {
  const Layout layout = layout_of(metadata, tensors, {});
  const std::vector<uint32_t> any(tensors.size());
  return kLengthBytes + format_safetensors_header(layout.header, any).size() + layout.data_bytes;
}

void save_safetensors(const std::filesystem::path& path, const Metadata& metadata, const NamedArrays& tensors,
                      std::string_view prefix) {
  save(path, layout_of(metadata, tensors, {}), tensors, prefix);
}

void save_safetensors(const std::filesystem::path& path, const TensorFile& file) {
  save(path, layout_of(file.metadata, file.tensors, file.foreign), file.tensors, AtomicFile::kPrefix);
}

TensorFile load_safetensors(const std::filesystem::path& path, const LoadOptions& options) {
  return detail::reading(path, [&] {
    const auto file = std::make_shared<MappedFile>(path, options.mapped);
    return read(contents_of(*file), file);
  });
}

bool verify_safetensors(const std::filesystem::path& path) {
  return detail::reading(path, [&] {
    const MappedFile file(path);
    return verify(contents_of(file));
  });
}

TensorFile load_verified_safetensors(const std::filesystem::path& path, const LoadOptions& options) {
  return detail::reading(path, [&] {
    const auto file = std::make_shared<MappedFile>(path, options.mapped);
    Contents contents = contents_of(*file);
    if (!verify(contents)) {
      detail::check_version(contents.header.metadata);
      throw FormatError("it has no checksums: another program has written it, or it is damaged");
    }
    return read(std::move(contents), file);
  });
}

}  // namespace thimble
