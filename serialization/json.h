// JSON of files from strangers, as a value that needs no memory to be destroyed: the tree of nlohmann's library
// allocates in its destructor, and so ends a program that has run out of memory. Its parser and its text of single
// values are used here. Internal: no public header mentions these types.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace thimble::detail {

class Json {
 public:
  using List = std::vector<Json>;
  using Object = std::map<std::string, Json, std::less<>>;

  /// null
  Json() = default;
  template <typename T>
  requires(!std::same_as<std::remove_cvref_t<T>, Json>) explicit Json(T value) : value_(stored(std::move(value))) {}

  /// T: bool, int64_t, uint64_t (of integers beyond int64), double (of numbers beyond both), std::string, List, Object
  template <typename T>
  bool is() const {
    return std::holds_alternative<Stored<T>>(value_);
  }
  /// Throws std::bad_variant_access if it is none.
  template <typename T>
  const T& get() const {
    if constexpr (kBoxed<T>)
      return *std::get<Stored<T>>(value_);
    else
      return std::get<T>(value_);
  }
  template <typename T>
  T& get() {
    return const_cast<T&>(std::as_const(*this).get<T>());
  }

  bool is_integer() const { return is<int64_t>() || is<uint64_t>(); }
  /// The member `key` of an object; nullptr if there is none, or no object.
  const Json* find(std::string_view key) const;
  /// "null", "boolean", "number", "string", "array", "object"
  const char* type_name() const;

 private:
  // Files may hold millions of numbers, which shall not take the memory of a string each.
  template <typename T>
  static constexpr bool kBoxed = std::same_as<T, std::string> || std::same_as<T, List> || std::same_as<T, Object>;
  template <typename T>
  using Stored = std::conditional_t<kBoxed<T>, std::unique_ptr<T>, T>;

  template <typename T>
  static Stored<T> stored(T&& value) {
    if constexpr (kBoxed<T>)
      return std::make_unique<T>(std::move(value));
    else
      return value;
  }

  std::variant<std::nullptr_t, bool, int64_t, uint64_t, double, Stored<std::string>, Stored<List>, Stored<Object>>
      value_;
};

/// The value of a document; of members of one name the last counts. Throws FormatError that begins with `what` for what
/// is no JSON, or is nested deeper than 160.
Json parse_json(const std::string& text, const char* what);

/// The text of a string, with its quotes; of a double, with enough digits and a decimal point (2.0).
std::string json_text(std::string_view utf8);
std::string json_text(double finite);
std::string json_text(std::integral auto) = delete;

/// The text of a list and of an object, from the texts of its values; keys are UTF-8.
std::string json_list(const std::vector<std::string>& values);
std::string json_object(const std::vector<std::pair<std::string, std::string>>& members);

}  // namespace thimble::detail
