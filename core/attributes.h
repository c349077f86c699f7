// Named attributes: how layers and ops describe their configuration, for printing, copying and files.
#pragma once

#include <cstdint>
#include <map>
#include <ostream>
#include <string>
#include <variant>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/core/error.h>

namespace thimble {

using Attribute = std::variant<bool, int64_t, double, std::string, std::vector<int64_t>, std::vector<double>>;

/// {"in_features": 400, "bias": true, ...}, in alphabetical order.
class THIMBLE_API Attributes {
 public:
  Attributes() = default;
  Attributes(std::initializer_list<std::pair<const std::string, Attribute>> values);
  Attributes(const Attributes& other);
  Attributes(Attributes&&) = default;
  Attributes& operator=(const Attributes& other) { return *this = Attributes(other); }
  Attributes& operator=(Attributes&&) = default;
  ~Attributes() = default;

  /// The attribute `key`; throws FormatError if it is missing or of another type. An integer serves as a double.
  template <typename T>
  T get(const std::string& key) const;
  /// The same, or `fallback` if it is missing.
  template <typename T>
  T get(const std::string& key, const T& fallback) const {
    return contains(key) ? get<T>(key) : fallback;
  }

  bool contains(const std::string& key) const { return values_.contains(key); }
  void set(const std::string& key, Attribute&& value) { values_.insert_or_assign(key, std::move(value)); }
  void set(const std::string& key, const Attribute& value);
  /// All of `other`, with `prefix` in front of their keys.
  void set_all(const std::string& prefix, const Attributes& other);
  /// Those whose keys begin with `prefix`, without it.
  Attributes part(const std::string& prefix) const;
  bool empty() const { return values_.empty(); }
  auto begin() const { return values_.begin(); }
  auto end() const { return values_.end(); }
  friend bool operator==(const Attributes&, const Attributes&) = default;

 private:
  const Attribute& find(const std::string& key) const;

  std::map<std::string, Attribute> values_;
};

/// "bias=true, in_features=400"
THIMBLE_API std::ostream& operator<<(std::ostream& out, const Attributes& attributes);

template <typename T>
T Attributes::get(const std::string& key) const {
  const Attribute& value = find(key);
  if (const T* exact = std::get_if<T>(&value)) return *exact;
  if constexpr (std::is_same_v<T, double>)
    if (const int64_t* integer = std::get_if<int64_t>(&value)) return static_cast<double>(*integer);
  if constexpr (std::is_same_v<T, std::vector<double>>)
    if (const auto* list = std::get_if<std::vector<int64_t>>(&value)) return {list->begin(), list->end()};
  throw FormatError(str("attribute '", key, "' has the wrong type"));
}

}  // namespace thimble
