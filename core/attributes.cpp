#include <thimble/core/attributes.h>

namespace thimble {

namespace {

struct Print {
  std::ostream& out;
  void operator()(bool v) const { out << (v ? "true" : "false"); }
  void operator()(const std::string& v) const { out << '"' << v << '"'; }
  template <typename T>
  void operator()(const std::vector<T>& v) const {
    out << '[';
    for (size_t i = 0; i < v.size(); ++i) out << (i ? "," : "") << v[i];
    out << ']';
  }
  template <typename T>
  void operator()(const T& v) const {
    out << v;
  }
};

// From what the variant holds: where memory ends, libstdc++ 12's own copy of a variant destroys what it has not made.
Attribute copy_of(const Attribute& value) {
  return std::visit([](const auto& held) { return Attribute(std::in_place_type<std::decay_t<decltype(held)>>, held); },
                    value);
}

}  // namespace

Attributes::Attributes(std::initializer_list<std::pair<const std::string, Attribute>> values) {
  for (const auto& [key, value] : values) values_.emplace(key, copy_of(value));
}

Attributes::Attributes(const Attributes& other) {
  for (const auto& [key, value] : other) values_.emplace_hint(values_.end(), key, copy_of(value));
}

void Attributes::set(const std::string& key, const Attribute& value) { set(key, copy_of(value)); }

const Attribute& Attributes::find(const std::string& key) const {
  const auto it = values_.find(key);
  check<FormatError>(it != values_.end(), "attribute '", key, "' is missing");
  return it->second;
}

void Attributes::set_all(const std::string& prefix, const Attributes& other) {
  for (const auto& [key, value] : other) set(prefix + key, value);
}

Attributes Attributes::part(const std::string& prefix) const {
  Attributes found;
  for (const auto& [key, value] : values_)
    if (key.starts_with(prefix)) found.set(key.substr(prefix.size()), value);
  return found;
}

std::ostream& operator<<(std::ostream& out, const Attributes& attributes) {
  const char* separator = "";
  for (const auto& [key, value] : attributes) {
    out << separator << key << '=';
    std::visit(Print{out}, value);
    separator = ", ";
  }
  return out;
}

}  // namespace thimble
