#include <algorithm>
#include <cmath>
#include <limits>

#include <thimble/core/text.h>
#include <thimble/serialization/attributes_json.h>

namespace thimble::detail {

namespace {

constexpr const char* kDouble = "double";

// What JSON cannot tell by itself.
std::string wrapped(const std::string& text) { return json_object({{kDouble, text}}); }

struct ToText {
  const std::string& key;

  std::string operator()(bool value) const { return value ? "true" : "false"; }
  std::string operator()(int64_t value) const { return std::to_string(value); }
  std::string operator()(double value) const {
    if (std::isnan(value)) return wrapped(json_text("nan"));
    if (std::isinf(value)) return wrapped(json_text(value > 0 ? "inf" : "-inf"));
    return json_text(value);
  }
  std::string operator()(const std::string& value) const {
    check<ValueError>(is_utf8(value), "attribute ", quote(key), ": ", quote(value), " is not UTF-8");
    return json_text(value);
  }
  std::string operator()(const std::vector<int64_t>& values) const { return list(values); }
  std::string operator()(const std::vector<double>& values) const {
    return values.empty() ? wrapped("[]") : list(values);
  }

  template <typename T>
  std::string list(const std::vector<T>& values) const {
    std::vector<std::string> texts;
    for (const T value : values) texts.push_back((*this)(value));
    return json_list(texts);
  }
};

const Json* unwrapped(const Json& value) {
  const bool alone = value.is<Json::Object>() && value.get<Json::Object>().size() == 1;
  return alone ? value.find(kDouble) : nullptr;
}

[[noreturn]] void fail(const std::string& key, const Json& got) {
  throw FormatError(str("attribute ", quote(key), " is ", got.type_name(),
                        ", expected a boolean, a number, a string or a list of numbers"));
}

int64_t to_integer(const std::string& key, const Json& value) {
  if (value.is<uint64_t>())
    throw FormatError(str("attribute ", quote(key), ": ", value.get<uint64_t>(), " is too large for an integer"));
  return value.get<int64_t>();
}

double to_double(const std::string& key, const Json& value) {
  if (value.is<double>()) return value.get<double>();
  if (value.is<int64_t>()) return static_cast<double>(value.get<int64_t>());
  if (value.is<uint64_t>()) return static_cast<double>(value.get<uint64_t>());
  const Json* text = unwrapped(value);
  if (text && text->is<std::string>()) {
    const auto& name = text->get<std::string>();
    if (name == "inf") return std::numeric_limits<double>::infinity();
    if (name == "-inf") return -std::numeric_limits<double>::infinity();
    if (name == "nan") return std::numeric_limits<double>::quiet_NaN();
  }
  fail(key, value);
}

Attribute to_list(const std::string& key, const Json::List& list) {
  if (std::ranges::all_of(list, &Json::is_integer)) {
    std::vector<int64_t> values;
    for (const Json& value : list) values.push_back(to_integer(key, value));
    return values;
  }
  std::vector<double> values;
  for (const Json& value : list) values.push_back(to_double(key, value));
  return values;
}

bool is_empty_list(const Json* value) { return value && value->is<Json::List>() && value->get<Json::List>().empty(); }

Attribute to_attribute(const std::string& key, const Json& value) {
  if (value.is<bool>()) return value.get<bool>();
  if (value.is_integer()) return to_integer(key, value);
  if (value.is<std::string>()) return value.get<std::string>();
  if (value.is<Json::List>()) return to_list(key, value.get<Json::List>());
  if (is_empty_list(unwrapped(value))) return std::vector<double>();
  return to_double(key, value);
}

}  // namespace

std::string attributes_to_json(const Attributes& attributes) {
  std::vector<std::pair<std::string, std::string>> members;
  for (const auto& [key, value] : attributes) {
    check<ValueError>(is_utf8(key), "attribute ", quote(key), ": the name is not UTF-8");
    members.emplace_back(key, std::visit(ToText{key}, value));
  }
  return json_object(members);
}

Attributes attributes_from_json(const Json& object) {
  check<FormatError>(object.is<Json::Object>(), "attributes are ", object.type_name(), ", expected an object");
  Attributes out;
  for (const auto& [key, value] : object.get<Json::Object>()) out.set(key, to_attribute(key, value));
  return out;
}

}  // namespace thimble::detail
