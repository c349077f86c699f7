#include "tests/fuzz/mutate_json.h"

#include <cstring>
#include <limits>
#include <vector>

#include <nlohmann/json.hpp>

#include "tests/fuzz/fuzz.h"

namespace thimble::fuzz {

namespace {

using nlohmann::json;
using Random = std::mt19937;

template <typename T>
const T& one_of(const std::vector<T>& choices, Random& random) {
  return choices[random() % choices.size()];
}

// A place in the document: a value in an object or a list.
struct Place {
  json* parent;
  std::string key;
  size_t index;

  json& value() const { return parent->is_object() ? (*parent)[key] : (*parent)[index]; }
  void erase() const {
    if (parent->is_object())
      parent->erase(key);
    else
      parent->erase(index);
  }
};

void collect_places(json& parent, std::vector<Place>& places) {
  size_t index = 0;
  for (auto it = parent.begin(); it != parent.end(); ++it, ++index) {
    places.push_back({&parent, parent.is_object() ? it.key() : "", index});
    if (it->is_structured()) collect_places(*it, places);
  }
}

json interesting_value(Random& random) {
  constexpr auto kLeast = std::numeric_limits<int64_t>::min(), kMost = std::numeric_limits<int64_t>::max();
  static const std::vector<json> values{
      0,
      1,
      2,
      3,
      -1,
      8,
      255,
      65536,
      INT32_MAX,
      INT32_MIN,
      int64_t{1} << 32,
      kMost,
      kLeast,
      std::numeric_limits<uint64_t>::max(),
      0.5,
      -0.0,
      1e-320,
      1e300,
      true,
      false,
      nullptr,
      "",
      "x",
      std::string(300, 'x'),
      "\x1b[2J",
      json::array(),
      json::object(),
      json::array({0, 1}),
      json::array({kMost, kMost}),
      json::array({-1, 2, 3}),
      json::array({1, 1, 1, 1, 1, 1, 1, 1, 1}),
      json{{"double", "inf"}},
      json{{"double", "nan"}},
      json{{"double", json::array()}},
  };
  return one_of(values, random);
}

json changed_value(const json& old, Random& random) {
  if (old.is_string() && random() % 2 == 0) {
    std::string text = old;
    mutate_bytes(text, text.size() + 8);
    return text;
  }
  if (old.is_number_integer() && random() % 2 == 0)
    return static_cast<int64_t>(old.get<uint64_t>() + static_cast<uint64_t>(random() % 9) - 4);
  return interesting_value(random);
}

void mutate_document(json& document, Random& random) {
  std::vector<Place> places;
  if (document.is_structured()) collect_places(document, places);
  if (places.empty()) {
    document = interesting_value(random);
    return;
  }
  const Place& place = one_of(places, random);
  const json other = one_of(places, random).value();
  switch (random() % 6) {
    case 0:
      place.erase();
      break;
    case 1:
      place.value() = other;
      break;
    case 2:
      if (place.parent->is_array())
        place.parent->insert(place.parent->begin() + static_cast<std::ptrdiff_t>(place.index), other);
      else
        (*place.parent)[one_of(places, random).key] = other;
      break;
    default:
      place.value() = changed_value(place.value(), random);
  }
}

std::string dumped(const json& document) { return document.dump(-1, ' ', false, json::error_handler_t::replace); }

constexpr size_t kLengthBytes = 8;

// The header's text, or nothing if the file has none.
std::string header_of(const std::string& file) {
  uint64_t length = 0;
  if (file.size() < kLengthBytes) return "";
  std::memcpy(&length, file.data(), kLengthBytes);
  return file.substr(kLengthBytes, std::min<uint64_t>(length, file.size() - kLengthBytes));
}

void mutate_metadata(std::string& header, size_t max_size, Random& random) {
  json document = json::parse(header, nullptr, false);
  if (!document.is_object() || !document.contains("__metadata__")) return mutate_json(header, max_size, random);
  json& metadata = document["__metadata__"];
  if (!metadata.is_object() || metadata.empty()) return mutate_json(header, max_size, random);
  auto it = metadata.begin();
  std::advance(it, static_cast<std::ptrdiff_t>(random() % metadata.size()));
  if (metadata.contains("graph") && random() % 4 > 0) it = metadata.find("graph");
  if (!it->is_string()) return mutate_json(header, max_size, random);
  std::string text = *it;
  mutate_json(text, max_size, random);
  *it = text;
  header = dumped(document);
}

}  // namespace

void mutate_json(std::string& text, size_t max_size, Random& random) {
  json document = json::parse(text, nullptr, false);
  if (document.is_discarded() || random() % 4 == 0) return mutate_bytes(text, max_size);
  for (unsigned i = 0; i <= random() % 3; ++i) mutate_document(document, random);
  text = dumped(document);
}

void mutate_safetensors(std::string& file, size_t max_size, Random& random) {
  std::string header = header_of(file);
  if (header.empty() || random() % 4 == 0) return mutate_bytes(file, max_size);
  std::string tensors = file.substr(kLengthBytes + header.size());
  if (random() % 2 == 0)
    mutate_metadata(header, max_size, random);
  else
    mutate_json(header, max_size, random);
  const uint64_t length = header.size();
  file.assign(reinterpret_cast<const char*>(&length), kLengthBytes);
  file += header + tensors;
}

}  // namespace thimble::fuzz
