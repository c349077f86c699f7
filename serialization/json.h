// JSON of files from strangers, as a value that needs no memory to be destroyed: the tree of nlohmann's library
// allocates in its destructor, and so ends a program that has run out of memory. Its parser and its text of single
// values are used here. Internal: no public header mentions these types.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace thimble::detail {

struct Json {
  using List = std::vector<Json>;
  struct Member;
  using Object = std::vector<Member>;  // in the document's order

  /// Integers beyond int64 are uint64; beyond that, doubles.
  std::variant<std::nullptr_t, bool, int64_t, uint64_t, double, std::string, List, Object> value;

  template <typename T>
  bool is() const {
    return std::holds_alternative<T>(value);
  }
  template <typename T>
  const T& get() const {
    return std::get<T>(value);
  }
  bool is_integer() const { return is<int64_t>() || is<uint64_t>(); }
  bool is_number() const { return is_integer() || is<double>(); }

  /// The member `key` of an object, the last of that name; nullptr if there is none, or no object.
  const Json* find(const std::string& key) const;
  /// "null", "boolean", "number", "string", "array", "object"
  const char* type_name() const;
};

struct Json::Member {
  std::string key;
  Json value;
};

/// The value of a document. Throws FormatError that begins with `what` for what is no JSON, or is nested deeper
/// than 16.
Json parse_json(const std::string& text, const char* what);

/// The text of a string, with its quotes; of a double, with enough digits and a decimal point (2.0).
std::string json_text(std::string_view utf8);
std::string json_text(double finite);

/// The text of a list and of an object, from the texts of its values; keys are UTF-8.
std::string json_list(const std::vector<std::string>& values);
std::string json_object(const std::vector<std::pair<std::string, std::string>>& members);

}  // namespace thimble::detail
