#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <numeric>
#include <set>

#include <nlohmann/json.hpp>

#include <thimble/core/text.h>
#include <thimble/serialization/checksums.h>
#include <thimble/serialization/file_array.h>
#include <thimble/serialization/json.h>
#include <thimble/serialization/safetensors_header.h>

namespace thimble::detail {

namespace {

using nlohmann::json;

constexpr const char* kMetadata = "__metadata__";

// All that the reference implementation knows.
constexpr std::array kStoredTypes = {
    StoredType{"F64", DType::float64, 64},      StoredType{"F32", DType::float32, 32},
    StoredType{"F16", DType::float16, 16},      StoredType{"BF16", DType::bfloat16, 16},
    StoredType{"I64", DType::int64, 64},        StoredType{"I32", DType::int32, 32},
    StoredType{"I16", DType::int16, 16},        StoredType{"I8", DType::int8, 8},
    StoredType{"U64", DType::uint64, 64},       StoredType{"U32", DType::uint32, 32},
    StoredType{"U16", DType::uint16, 16},       StoredType{"U8", DType::uint8, 8},
    StoredType{"BOOL", DType::bool_, 8},        StoredType{"C64", std::nullopt, 64},
    StoredType{"F8_E4M3", std::nullopt, 8},     StoredType{"F8_E5M2", std::nullopt, 8},
    StoredType{"F8_E8M0", std::nullopt, 8},     StoredType{"F8_E4M3FNUZ", std::nullopt, 8},
    StoredType{"F8_E5M2FNUZ", std::nullopt, 8}, StoredType{"F6_E2M3", std::nullopt, 6},
    StoredType{"F6_E3M2", std::nullopt, 6},     StoredType{"F4", std::nullopt, 4},
};

std::string known_types() {
  std::string names;
  for (const StoredType& type : kStoredTypes) names += (names.empty() ? "" : ", ") + std::string(type.name);
  return names;
}

// Receives the header's tokens one by one. Unlike a tree of JSON values, this sees repeated keys, and it ends at the
// first thing that does not belong, so that nesting cannot go deeper than the format's three levels.
class HeaderReader : public json::json_sax_t {
 public:
  explicit HeaderReader(std::string_view text) : text_(text) {}
  SafetensorsHeader take() { return std::move(header_); }

  bool null() override {
    if (where_ != Where::file || name_ != kMetadata) unexpected("null");
    return true;  // as the reference implementation reads it: there is none
  }
  bool boolean(bool) override { unexpected("a boolean"); }
  bool number_integer(json::number_integer_t value) override { unexpected(str("the number ", value)); }
  bool number_float(json::number_float_t, const std::string& text) override {
    unexpected("the number " + quote(text, 40));
  }
  bool binary(json::binary_t&) override { unexpected("binary data"); }

  bool number_unsigned(json::number_unsigned_t value) override {
    if (where_ == Where::shape) {
      check<FormatError>(tensor().shape.ndim() < Shape::kMaxDims, tensor_name(), " has more than ", Shape::kMaxDims,
                         " dimensions");
      check<FormatError>(value <= std::numeric_limits<int64_t>::max(), tensor_name(), ": size ", value,
                         " in its shape is too large");
      tensor().shape.push_back(static_cast<int64_t>(value));
    } else if (where_ == Where::offsets && offsets_ < 2) {
      (offsets_++ == 0 ? tensor().begin : tensor().end) = value;
    } else {
      unexpected(where_ == Where::offsets ? "a third number" : str("the number ", value));
    }
    return true;
  }

  bool string(std::string& value) override {
    if (where_ == Where::metadata) {
      header_.metadata[key_] = std::move(value);
    } else if (where_ == Where::tensor && key_ == "dtype") {
      tensor().type = find_stored_type(value);
      check<FormatError>(tensor().type != nullptr, tensor_name(), " has dtype ", quote(value), ", expected one of ",
                         known_types());
    } else {
      unexpected("the string " + quote(value));
    }
    return true;
  }

  bool key(std::string& value) override {
    if (where_ == Where::file) {
      check<FormatError>(names_.insert(value).second, "header names ", quote(value), " twice");
      name_ = value;
    } else {
      const bool known = where_ == Where::metadata || value == "dtype" || value == "shape" || value == "data_offsets";
      check<FormatError>(known, tensor_name(), " has an unknown field ", quote(value),
                         ", expected dtype, shape and data_offsets");
      check<FormatError>(keys_.insert(value).second, owner(), " has ", quote(value), " twice");
    }
    key_ = std::move(value);
    return true;
  }

  bool start_object(size_t) override {
    if (where_ == Where::document) {
      where_ = Where::file;
    } else if (where_ == Where::file && name_ == kMetadata) {
      where_ = Where::metadata;
    } else if (where_ == Where::file) {
      where_ = Where::tensor;
      header_.tensors.emplace_back().name = name_;
    } else {
      unexpected("an object");
    }
    keys_.clear();
    return true;
  }

  bool end_object() override {
    if (where_ == Where::tensor)
      for (const char* field : {"dtype", "shape", "data_offsets"})
        check<FormatError>(keys_.contains(field), tensor_name(), " has no ", field);
    where_ = where_ == Where::file ? Where::document : Where::file;
    return true;
  }

  bool start_array(size_t) override {
    if (where_ != Where::tensor || key_ == "dtype") unexpected("a list");
    where_ = key_ == "shape" ? Where::shape : Where::offsets;
    offsets_ = 0;
    return true;
  }

  bool end_array() override {
    check<FormatError>(where_ != Where::offsets || offsets_ == 2, tensor_name(), ": 'data_offsets' has ", offsets_,
                       " numbers, expected 2");
    where_ = Where::tensor;
    return true;
  }

  bool parse_error(size_t position, const std::string&, const json::exception&) override {
    const size_t begin = std::min(text_.size(), position < 20 ? 0 : position - 20);
    throw FormatError(str("header is not valid JSON in UTF-8 at its byte ", position, ", near ",
                          quote(text_.substr(begin, 40)), ", expected an object of tensors"));
  }

 private:
  enum class Where { document, file, metadata, tensor, shape, offsets };

  TensorRecord& tensor() { return header_.tensors.back(); }
  std::string tensor_name() const { return "tensor " + quote(name_); }
  std::string owner() const { return where_ == Where::metadata ? kMetadata : tensor_name(); }

  [[noreturn]] void unexpected(const std::string& got) const {
    switch (where_) {
      case Where::document:
        throw FormatError("header is " + got + ", expected an object of tensors");
      case Where::file:
        throw FormatError(name_ == kMetadata ? str(kMetadata, " is ", got, ", expected an object of strings")
                                             : str(tensor_name(), " is ", got,
                                                   ", expected an object with dtype, shape and data_offsets"));
      case Where::metadata:
        throw FormatError(str(kMetadata, ": ", quote(key_), " is ", got, ", expected a string"));
      case Where::tensor:
        throw FormatError(str(tensor_name(), ": ", quote(key_), " is ", got, ", expected ",
                              key_ == "dtype" ? "a string" : "a list of non-negative integers"));
      case Where::shape:
        throw FormatError(str(tensor_name(), ": 'shape' holds ", got, ", expected non-negative integers"));
      case Where::offsets:
        throw FormatError(str(tensor_name(), ": 'data_offsets' holds ", got, ", expected two non-negative integers"));
    }
    throw FormatError("header holds " + got);
  }

  std::string_view text_;
  SafetensorsHeader header_;
  Where where_ = Where::document;
  std::string name_, key_;              // the last key of the file, and of any object
  std::set<std::string> names_, keys_;  // seen in the file, and in the innermost object
  int offsets_ = 0;                     // how many of data_offsets were seen
};

void check_range(const TensorRecord& tensor, uint64_t data_bytes) {
  const std::string name = "tensor " + quote(tensor.name);
  const StoredType& type = *tensor.type;
  check<FormatError>(size_fits(tensor.shape, type.bits), name, ": shape ", tensor.shape, " is too large");
  const std::optional<uint64_t> expected = stored_bytes(type, tensor.shape);
  check<FormatError>(expected.has_value(), name, ": ", type.name, tensor.shape, " does not fill whole bytes");
  check<FormatError>(tensor.begin <= tensor.end, name, ": data_offsets [", tensor.begin, ',', tensor.end,
                     "] end before they begin");
  check<FormatError>(tensor.end <= data_bytes, name, ": data_offsets [", tensor.begin, ',', tensor.end, "] exceed the ",
                     data_bytes, " bytes of data in the file");
  check<FormatError>(tensor.end - tensor.begin == *expected, name, " has ", tensor.end - tensor.begin,
                     " bytes of data, expected ", *expected, " for ", type.name, tensor.shape);
}

// Each byte of data belongs to one tensor, as the reference implementation demands: nothing can hide in the file.
void check_coverage(const std::vector<TensorRecord>& tensors, uint64_t data_bytes) {
  std::vector<const TensorRecord*> order(tensors.size());
  std::ranges::transform(tensors, order.begin(), [](const TensorRecord& t) { return &t; });
  std::ranges::sort(order, {}, [](const TensorRecord* t) { return std::pair(t->begin, t->end); });
  uint64_t covered = 0;
  for (const TensorRecord* t : order) {
    check<FormatError>(t->begin >= covered, "tensor ", quote(t->name), " begins at data byte ", t->begin,
                       " and overlaps another tensor, expected it at ", covered);
    check<FormatError>(t->begin == covered, "tensor ", quote(t->name), " begins at data byte ", t->begin,
                       " after a hole, expected it at ", covered);
    covered = t->end;
  }
  check<FormatError>(covered == data_bytes, "the last tensor ends at data byte ", covered,
                     ", expected the file's last, ", data_bytes);
}

void check_names(const SafetensorsHeader& header) {
  std::set<std::string_view> names;
  for (const TensorRecord& tensor : header.tensors) {
    check<ValueError>(is_utf8(tensor.name), "save: tensor name ", quote(tensor.name), " is not UTF-8");
    check<ValueError>(tensor.name != kMetadata, "save: a tensor cannot be named ", kMetadata);
    check<ValueError>(names.insert(tensor.name).second, "save: two tensors are named ", quote(tensor.name));
  }
  check<ValueError>(!header.metadata.contains(kChecksumsKey), "save: metadata cannot be named ", kChecksumsKey);
  for (const auto& [key, value] : header.metadata)
    check<ValueError>(is_utf8(key) && is_utf8(value), "save: metadata ", quote(key), " is not UTF-8");
}

}  // namespace

const StoredType& stored_type(DType dtype) { return *std::ranges::find(kStoredTypes, dtype, &StoredType::dtype); }

const StoredType* find_stored_type(std::string_view name) {
  const auto it = std::ranges::find(kStoredTypes, name, &StoredType::name);
  return it == kStoredTypes.end() ? nullptr : &*it;
}

std::optional<uint64_t> stored_bytes(const StoredType& type, const Shape& shape) {
  if (!size_fits(shape, type.bits)) return std::nullopt;
  const uint64_t bits = static_cast<uint64_t>(shape.numel()) * type.bits;
  return bits % 8 == 0 ? std::optional(bits / 8) : std::nullopt;
}

SafetensorsHeader parse_safetensors_header(std::string_view text, uint64_t data_bytes) {
  check<FormatError>(text.starts_with('{'), "header begins with ", quote(text.substr(0, 1)), ", expected '{'");
  // The JSON parser takes a zero byte for the end.
  const size_t zero = text.find('\0');
  check<FormatError>(zero == std::string_view::npos, "header has a zero byte at its byte ", zero + 1);
  HeaderReader reader(text);
  json::sax_parse(text, &reader);
  SafetensorsHeader header = reader.take();
  if (auto checksums = header.metadata.extract(kChecksumsKey)) header.checksums = std::move(checksums.mapped());
  for (const TensorRecord& tensor : header.tensors) check_range(tensor, data_bytes);
  check_coverage(header.tensors, data_bytes);
  return header;
}

std::string format_safetensors_header(const SafetensorsHeader& header, const std::vector<uint32_t>& checksums) {
  check_names(header);
  std::string text = str("{\"", kMetadata, R"(":{")", kChecksumsKey, R"(":")", format_checksums(checksums), '"');
  for (const auto& [key, value] : header.metadata)
    text.append(1, ',').append(json_text(key)).append(1, ':').append(json_text(value));
  text += '}';
  for (const TensorRecord& tensor : header.tensors)
    text += str(',', json_text(tensor.name), R"(:{"dtype":")", tensor.type->name, R"(","shape":)", tensor.shape,
                R"(,"data_offsets":[)", tensor.begin, ',', tensor.end, "]}");
  text += '}';
  constexpr size_t kAlignment = 64, kLengthBytes = 8;
  text.append((2 * kAlignment - (kLengthBytes + text.size()) % kAlignment) % kAlignment, ' ');
  check<ValueError>(text.size() <= kMaxHeaderBytes, "save: names and metadata fill ", text.size(),
                    " bytes, the format allows ", kMaxHeaderBytes);
  seal_header(text);
  return text;
}

}  // namespace thimble::detail
