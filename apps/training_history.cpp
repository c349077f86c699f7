#include "apps/training_history.h"

#include <algorithm>
#include <string_view>
#include <utility>
#include <variant>

#include <nlohmann/json.hpp>

namespace thimble::apps {

namespace {

// What differs from run to run.
bool is_time(std::string_view name) { return name == "seconds" || name == "examples_per_second"; }

// Numbers that all are whole come back from a file as integers. Empty for what is no list of numbers.
std::vector<double> numbers_in(const Attribute& value) {
  if (const auto* whole = std::get_if<std::vector<int64_t>>(&value)) return {whole->begin(), whole->end()};
  const auto* values = std::get_if<std::vector<double>>(&value);
  return values ? *values : std::vector<double>();
}

}  // namespace

Attributes history_notes(const std::string& prefix, const std::vector<EpochRecord>& epochs) {
  Attributes notes;
  constexpr size_t kMostEpochs = 10000;
  if (epochs.empty() || epochs.size() > kMostEpochs) return notes;
  for (const auto& [name, first] : epochs.front().values()) {
    const auto has_it = [&key = name](const EpochRecord& epoch) { return epoch.contains(key); };
    if (is_time(name) || !std::ranges::all_of(epochs, has_it)) continue;
    std::vector<double> values;
    for (const EpochRecord& epoch : epochs) values.push_back(epoch[name]);
    notes.set(prefix + name, std::move(values));
  }
  return notes;
}

std::vector<EpochRecord> history_in(const Attributes& notes, const std::string& prefix) {
  std::vector<EpochRecord::Values> epochs;
  const Attributes history = notes.part(prefix);
  for (const auto& [name, value] : history) {
    const std::vector<double> values = numbers_in(value);
    if (values.empty() || (!epochs.empty() && values.size() != epochs.size())) continue;
    epochs.resize(values.size());
    for (size_t i = 0; i < epochs.size(); ++i) epochs[i].emplace_back(name, values[i]);
  }
  std::vector<EpochRecord> records;
  for (EpochRecord::Values& values : epochs) records.emplace_back(std::move(values));
  return records;
}

nlohmann::json epochs_json(const std::vector<EpochRecord>& epochs) {
  // Outside scripts know the rate under this name, whatever the examples are.
  const auto key_of = [](const std::string& name) {
    return name == "examples_per_second" ? "images_per_second" : name;
  };
  nlohmann::json rows = nlohmann::json::array();
  for (const EpochRecord& epoch : epochs) {
    nlohmann::json& row = rows.emplace_back(nlohmann::json{{"epoch", rows.size() + 1}});
    for (const auto& [name, value] : epoch.values()) row[key_of(name)] = value;
  }
  return rows;
}

}  // namespace thimble::apps
