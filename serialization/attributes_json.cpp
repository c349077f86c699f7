#include <algorithm>
#include <cmath>
#include <limits>

#include <nlohmann/json.hpp>

#include <thimble/core/text.h>
#include <thimble/serialization/attributes_json.h>

namespace thimble::detail {

namespace {

using nlohmann::json;

constexpr const char* kDouble = "double";

struct ToJson {
  const std::string& key;

  json operator()(const std::string& value) const {
    check<ValueError>(is_utf8(value), "attribute ", quote(key), ": ", quote(value), " is not UTF-8");
    return value;
  }
  json operator()(double value) const {
    if (std::isnan(value)) return {{kDouble, "nan"}};
    if (std::isinf(value)) return {{kDouble, value > 0 ? "inf" : "-inf"}};
    return value;
  }
  json operator()(const std::vector<double>& values) const {
    json list = json::array();
    for (const double value : values) list.push_back((*this)(value));
    if (values.empty()) return {{kDouble, list}};
    return list;
  }
  json operator()(const auto& value) const { return value; }  // bool, int64, list of int64
};

[[noreturn]] void fail(const std::string& key, const json& got) {
  throw FormatError(str("attribute ", quote(key), " is ", got.type_name(),
                        ", expected a boolean, a number, a string or a list of numbers"));
}

int64_t to_integer(const std::string& key, const json& value) {
  check<FormatError>(!value.is_number_unsigned() || value.get<uint64_t>() <= std::numeric_limits<int64_t>::max(),
                     "attribute ", quote(key), ": ", value.dump(), " is too large for an integer");
  return value.get<int64_t>();
}

double to_double(const std::string& key, const json& value) {
  if (value.is_number()) return value.get<double>();
  if (value.is_object() && value.size() == 1 && value.contains(kDouble)) {
    if (value[kDouble] == "inf") return std::numeric_limits<double>::infinity();
    if (value[kDouble] == "-inf") return -std::numeric_limits<double>::infinity();
    if (value[kDouble] == "nan") return std::numeric_limits<double>::quiet_NaN();
  }
  fail(key, value);
}

Attribute to_list(const std::string& key, const json& list) {
  if (std::ranges::all_of(list, [](const json& value) { return value.is_number_integer(); })) {
    std::vector<int64_t> values;
    for (const json& value : list) values.push_back(to_integer(key, value));
    return values;
  }
  std::vector<double> values;
  for (const json& value : list) values.push_back(to_double(key, value));
  return values;
}

Attribute to_attribute(const std::string& key, const json& value) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number_integer()) return to_integer(key, value);
  if (value.is_string()) return value.get<std::string>();
  if (value.is_array()) return to_list(key, value);
  if (value == json{{kDouble, json::array()}}) return std::vector<double>();
  return to_double(key, value);
}

}  // namespace

json attributes_to_json(const Attributes& attributes) {
  json out = json::object();
  for (const auto& [key, value] : attributes) {
    check<ValueError>(is_utf8(key), "attribute ", quote(key), ": the name is not UTF-8");
    out[key] = std::visit(ToJson{key}, value);
  }
  return out;
}

Attributes attributes_from_json(const json& object) {
  check<FormatError>(object.is_object(), "attributes are ", object.type_name(), ", expected an object");
  Attributes out;
  for (const auto& [key, value] : object.items()) out.set(key, to_attribute(key, value));
  return out;
}

}  // namespace thimble::detail
