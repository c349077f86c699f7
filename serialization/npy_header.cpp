#include <algorithm>
#include <array>
#include <charconv>
#include <set>

#include <thimble/core/text.h>
#include <thimble/serialization/file_array.h>
#include <thimble/serialization/npy_header.h>

namespace thimble::detail {

namespace {

struct NpyType {
  std::string_view code;  // in the file, after the byte order
  DType dtype;
};

constexpr std::array kTypes = {
    NpyType{"f4", DType::float32}, NpyType{"f8", DType::float64}, NpyType{"f2", DType::float16},
    NpyType{"i1", DType::int8},    NpyType{"u1", DType::uint8},   NpyType{"b1", DType::bool_},
    NpyType{"i2", DType::int16},   NpyType{"u2", DType::uint16},  NpyType{"i4", DType::int32},
    NpyType{"u4", DType::uint32},  NpyType{"i8", DType::int64},   NpyType{"u8", DType::uint64},
};

/// Reads the few Python literals that a header consists of.
class DictReader {
 public:
  explicit DictReader(std::string_view text) : text_(text) {}

  NpyHeader read() {
    expect("{");
    while (!accept("}")) {
      read_entry();
      if (accept(",")) continue;
      expect("}");
      break;
    }
    skip_space();
    if (at_ < text_.size()) unexpected("nothing more");
    for (const char* key : {"descr", "fortran_order", "shape"})
      check<FormatError>(keys_.contains(key), "the header has no '", key, "'");
    return header_;
  }

 private:
  void read_entry() {
    const std::string_view key = string();
    const bool known = key == "descr" || key == "fortran_order" || key == "shape";
    check<FormatError>(known, "the header has an unknown entry ", quote(key),
                       ", expected descr, fortran_order and shape");
    check<FormatError>(keys_.insert(key).second, "the header has '", key, "' twice");
    expect(":");
    if (key == "descr") {
      read_descr();
    } else if (key == "shape") {
      read_shape();
    } else {
      header_.fortran_order = accept("True");
      if (!header_.fortran_order) expect("False");
    }
  }

  void read_descr() {
    header_.descr = string();
    const std::string_view descr = header_.descr;
    const auto type = std::ranges::find(kTypes, descr.substr(std::min<size_t>(descr.size(), 1)), &NpyType::code);
    // '|': of elements of one byte, where there is no order.
    const bool sound =
        type != kTypes.end() && (descr[0] == '<' || descr[0] == '>' || (descr[0] == '|' && itemsize(type->dtype) == 1));
    check<FormatError>(sound, "the header's descr is ", quote(descr), ", expected ", known_types());
    header_.dtype = type->dtype;
    header_.big_endian = descr[0] == '>';
  }

  // (), (3,), (3, 4), (3, 4,)
  void read_shape() {
    expect("(");
    bool comma = true;
    while (!accept(")")) {
      if (!comma) unexpected("',' or ')'");
      check<FormatError>(header_.shape.ndim() < Shape::kMaxDims, "the header's shape has more than ", Shape::kMaxDims,
                         " dimensions");
      header_.shape.push_back(size());
      comma = accept(",");
    }
    // (3) is a number, not a tuple.
    check<FormatError>(comma || header_.shape.ndim() != 1, "the header's shape is a number, expected a tuple");
  }

  int64_t size() {
    skip_space();
    int64_t value = 0;
    const char* begin = text_.data() + at_;
    const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), value);
    if (error != std::errc() || *begin == '-') unexpected("a size that int64 can hold");
    at_ += static_cast<size_t>(end - begin);
    return value;
  }

  std::string_view string() {
    skip_space();
    const char quotation = at_ < text_.size() ? text_[at_] : '\0';
    if (quotation != '\'' && quotation != '"') unexpected("a string");
    const size_t end = text_.find_first_of(quotation == '"' ? "\"\\\n" : "'\\\n", at_ + 1);
    if (end == std::string_view::npos || text_[end] != quotation) unexpected("a string without escapes");
    const std::string_view value = text_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
    return value;
  }

  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
  }

  bool accept(std::string_view token) {
    skip_space();
    if (!text_.substr(at_).starts_with(token)) return false;
    at_ += token.size();
    return true;
  }

  void expect(std::string_view token) {
    if (!accept(token)) unexpected(str('\'', token, '\''));
  }

  [[noreturn]] void unexpected(const std::string& expected) const {
    constexpr size_t kShown = 20;
    throw FormatError(str("the header has ", at_ < text_.size() ? quote(text_.substr(at_, kShown)) : "its end",
                          " at its byte ", at_, ", expected ", expected));
  }

  static std::string known_types() {
    std::string names = "'<' or '>' and one of ";
    for (const NpyType& type : kTypes) names += str(&type == kTypes.data() ? "" : ", ", type.code);
    return names;
  }

  std::string_view text_;
  size_t at_ = 0;
  NpyHeader header_;
  std::set<std::string_view> keys_;
};

}  // namespace

NpyHeader parse_npy_header(std::string_view text) {
  const NpyHeader header = DictReader(text).read();
  check<FormatError>(size_fits(header.shape, itemsize(header.dtype)), "the header's shape ", header.shape,
                     " is too large");
  return header;
}

std::string format_npy_header(DType dtype, const Shape& shape) {
  const NpyType& type = *std::ranges::find(kTypes, dtype, &NpyType::dtype);
  std::string sizes;
  for (const int64_t& size : shape) sizes += str(size, shape.ndim() == 1 || &size != shape.end() - 1 ? ", " : "");
  if (shape.ndim() == 1) sizes.pop_back();  // (3,)
  return str("{'descr': '", itemsize(dtype) == 1 ? '|' : '<', type.code, "', 'fortran_order': False, 'shape': (", sizes,
             "), }");
}

}  // namespace thimble::detail
