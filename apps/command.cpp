#include "apps/command.h"

#include <charconv>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <limits>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

#include <thimble/core/error.h>
#include <thimble/core/parallel.h>
#include <thimble/core/text.h>
#include <thimble/serialization/atomic_file.h>
#include <thimble/serialization/training_state_folder.h>

namespace thimble::apps {

namespace {

namespace fs = std::filesystem;

// Absolute and without links, also where the last link points to a file that does not exist yet.
fs::path resolved(fs::path path) {
  constexpr int kMostLinks = 40;  // as Linux
  std::error_code error;
  for (int i = 0; i < kMostLinks; ++i) {
    const fs::path known = fs::weakly_canonical(fs::absolute(path, error), error);
    if (error) return path;
    if (!fs::is_symlink(known, error)) return known;
    path = known.parent_path() / fs::read_symlink(known, error);
  }
  return path;
}

// Devices and pipes are not replaced, and may serve twice.
bool same_file(const fs::path& a, const fs::path& b) {
  std::error_code error;
  if (fs::exists(a, error) && fs::exists(b, error)) return fs::is_regular_file(a, error) && fs::equivalent(a, b, error);
  return resolved(a) == resolved(b);
}

// Whether a file would be the folder of training states, or has a name there that states or their lock have.
bool belongs_to_states(const fs::path& file, const fs::path& states) {
  if (states.empty()) return false;
  const fs::path path = resolved(file);
  fs::path folder = resolved(states);
  if (!folder.has_filename()) folder = folder.parent_path();  // "states/"
  return path == folder || (path.parent_path() == folder && is_training_state_file(path.filename().native()));
}

// Throws the IOError that writing this file would end in, as far as it can be known before the work is done. Leaves the
// file as it is.
void check_writable(const std::string& path) {
  std::error_code unknown;
  const auto type = fs::status(path, unknown).type();
  // Opened and closed, a pipe would end for its reader.
  if (type == fs::file_type::fifo || type == fs::file_type::character) return;
  const AtomicFile probe(path);
}

struct Number {
  double value;
  std::string unit;
};

// "1.5MB", "98.5 %".
std::optional<Number> number_and_unit(const std::string& text) {
  Number number{};
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number.value);
  if (error != std::errc()) return std::nullopt;
  number.unit = CLI::detail::trim_copy(std::string(rest, end));
  return number;
}

constexpr std::pair<std::string_view, double> kUnits[] = {{"", 1},         {"b", 1},        {"kb", 1e3},    {"mb", 1e6},
                                                          {"gb", 1e9},     {"k", 1e3},      {"m", 1e6},     {"g", 1e9},
                                                          {"kib", 0x1p10}, {"mib", 0x1p20}, {"gib", 0x1p30}};

// With all digits.
std::string exact(double value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof(text), value).ptr};
}

}  // namespace

void Common::add_to(CLI::App& command) {
  command.add_option("--threads", threads_, "Threads to use; all cores by default")->check(CLI::Range(1, 1024));
  command
      .add_option("--json", json_,
                  "Write the result as JSON to this file; - for standard output, which then carries nothing else")
      ->type_name("FILE");
}

void Common::apply(const std::vector<std::string>& inputs, const std::optional<std::string>& out,
                   const std::string& states) const {
  std::vector<std::pair<std::string, std::string>> files;
  for (const std::string& input : inputs) files.emplace_back("the input", input);
  auto add_output = [&](const std::string& option, const std::string& path) {
    for (const auto& [role, other] : files)
      if (same_file(path, other))
        throw CLI::ValidationError(
            option, str(detail::quote_path(path), " would replace ", role, ", ", detail::quote_path(other)));
    if (belongs_to_states(path, states))
      throw CLI::ValidationError(option, str(detail::quote_path(path), " is what --save-state ",
                                             detail::quote_path(states), " keeps for itself; choose another name"));
    files.emplace_back(option, path);
  };
  if (out) add_output("--out", *out);
  if (json_is_file()) add_output("--json", json_);

  if (threads_ > 0) set_num_threads(threads_);
  if (out) check_writable(*out);
  if (json_is_file()) check_writable(json_);
}

std::ostream& Common::out() const { return json_ == "-" ? std::cerr : std::cout; }

void Common::write_json(const nlohmann::json& result) const {
  if (json_.empty()) return;
  // File names need not be UTF-8, JSON must. ASCII alone, so that no control character of a file reaches a terminal.
  const std::string text = result.dump(2, ' ', true, nlohmann::json::error_handler_t::replace) + '\n';
  if (json_ == "-") {
    std::cout << text << std::flush;
    check<IOError>(std::cout.good() && std::ferror(stdout) == 0, "cannot write the JSON result to standard output");
    return;
  }
  AtomicFile file(json_);
  file.write(text.data(), text.size());
  file.commit();
}

CLI::Validator number_from(double low, double high) {
  const std::string range = str(low, " to ", high);
  auto problem = [=](std::string& input) {
    double value = 0;
    const bool in_range = CLI::detail::lexical_cast(input, value) && value >= low && value <= high;
    return in_range ? std::string() : str("Value ", input, " not in range ", range);
  };
  return {problem, str("FLOAT in [", low, " - ", high, "]")};
}

CLI::Validator byte_size() {
  auto problem = [](std::string& input) -> std::string {
    constexpr double kMost = 0x1p60;
    const auto number = number_and_unit(input);
    double bytes = -1;
    if (number)
      for (const auto& [unit, factor] : kUnits)
        if (CLI::detail::to_lower(number->unit) == unit) bytes = std::round(number->value * factor);
    if (!(bytes >= 1 && bytes <= kMost))
      return str("Value ", input, " is not a size from 1 byte to 2^60, such as 500000, 500KB or 1.5MB");
    input = std::to_string(static_cast<int64_t>(bytes));
    return "";
  };
  return {problem, ""};
}

CLI::Validator fraction() {
  auto problem = [](std::string& input) -> std::string {
    const auto number = number_and_unit(input);
    const bool percent = number && number->unit == "%";
    const double value = number ? number->value / (percent ? 100 : 1) : -1;
    if (!(value >= 0 && value <= 1) || !(percent || number->unit.empty()))
      return str("Value ", input, " not in range 0 to 1, or 0% to 100%");
    input = exact(value);
    return "";
  };
  return {problem, ""};
}

CLI::Validator uint64_number() {
  const std::string range = str("0 to ", std::numeric_limits<uint64_t>::max());
  auto problem = [=](std::string& input) {
    uint64_t value = 0;
    const char* end = input.data() + input.size();
    const auto [rest, error] = std::from_chars(input.data(), end, value);
    const bool in_range = error == std::errc() && rest == end;
    return in_range ? std::string() : str("Value ", input, " not in range ", range);
  };
  return {problem, ""};
}

}  // namespace thimble::apps
