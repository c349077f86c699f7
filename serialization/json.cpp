#include <iterator>
#include <utility>

#include <nlohmann/json.hpp>

#include <thimble/core/error.h>
#include <thimble/serialization/json.h>

namespace thimble::detail {

namespace {

using nlohmann::json;

constexpr size_t kMaxDepth = 160;  // graphs lie within layers of graphs

// Receives a document's tokens one by one.
class JsonReader : public json::json_sax_t {
 public:
  explicit JsonReader(const char* what) : what_(what) {}
  Json take() { return std::move(root_); }

  bool null() override { return add(Json()); }
  bool boolean(bool value) override { return add(Json(value)); }
  bool number_integer(json::number_integer_t value) override { return add(Json(value)); }
  bool number_unsigned(json::number_unsigned_t value) override {
    return add(std::in_range<int64_t>(value) ? Json(static_cast<int64_t>(value)) : Json(value));
  }
  bool number_float(json::number_float_t value, const std::string&) override { return add(Json(value)); }
  bool string(std::string& value) override { return add(Json(std::move(value))); }
  bool binary(json::binary_t&) override { return false; }  // JSON has none
  bool key(std::string& name) override {
    key_ = std::move(name);
    return true;
  }
  bool start_object(size_t) override { return open(Json(Json::Object())); }
  bool start_array(size_t) override { return open(Json(Json::List())); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool parse_error(size_t position, const std::string&, const json::exception&) override {
    throw FormatError(str(what_, ": not valid JSON at its byte ", position));
  }

 private:
  // Where the value is from now on; this stays, since what is around it does not grow before it is closed.
  Json& place(Json&& value) {
    if (open_.empty()) return root_ = std::move(value);
    if (open_.back()->is<Json::Object>())
      return open_.back()->get<Json::Object>().insert_or_assign(std::move(key_), std::move(value)).first->second;
    return open_.back()->get<Json::List>().emplace_back(std::move(value));
  }

  bool add(Json&& value) {
    place(std::move(value));
    return true;
  }

  bool open(Json&& value) {
    check<FormatError>(open_.size() < kMaxDepth, what_, ": JSON nested deeper than ", kMaxDepth);
    open_.push_back(&place(std::move(value)));
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  const char* what_;
  Json root_;
  std::vector<Json*> open_;  // the lists and objects around the next value
  std::string key_;
};

}  // namespace

const Json* Json::find(std::string_view key) const {
  if (!is<Object>()) return nullptr;
  const auto it = get<Object>().find(key);
  return it != get<Object>().end() ? &it->second : nullptr;
}

const char* Json::type_name() const {
  constexpr const char* kNames[] = {"null", "boolean", "number", "number", "number", "string", "array", "object"};
  static_assert(std::size(kNames) == std::variant_size_v<decltype(value_)>);
  return kNames[value_.index()];
}

Json parse_json(const std::string& text, const char* what) {
  JsonReader reader(what);
  json::sax_parse(text, &reader);
  return reader.take();
}

std::string json_text(std::string_view utf8) { return json(std::string(utf8)).dump(); }

std::string json_text(double finite) { return json(finite).dump(); }

std::string json_list(const std::vector<std::string>& values) {
  std::string text = "[";
  for (const std::string& value : values) {
    if (text.size() > 1) text += ',';
    text += value;
  }
  return text += ']';
}

std::string json_object(const std::vector<std::pair<std::string, std::string>>& members) {
  std::string text = "{";
  for (const auto& [key, value] : members) {
    if (text.size() > 1) text += ',';
    text += json_text(key);
    text += ':';
    text += value;
  }
  return text += '}';
}

}  // namespace thimble::detail
