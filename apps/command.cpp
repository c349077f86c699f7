#include "apps/command.h"

#include <filesystem>
#include <iostream>

#include <nlohmann/json.hpp>

#include <thimble/core/error.h>
#include <thimble/core/parallel.h>
#include <thimble/serialization/atomic_file.h>

namespace thimble::apps {

void Common::add_to(CLI::App& command) {
  command.add_option("--threads", threads_, "Threads to use; all cores by default")->check(CLI::Range(1, 1024));
  command
      .add_option("--json", json_,
                  "Write the result as JSON to this file; - for standard output, which then carries nothing else")
      ->type_name("FILE");
}

void Common::apply() const {
  if (threads_ > 0) set_num_threads(threads_);
  if (!json_.empty() && json_ != "-") check_writable(json_);
}

std::ostream& Common::out() const { return json_ == "-" ? std::cerr : std::cout; }

void Common::write_json(const nlohmann::json& result) const {
  if (json_.empty()) return;
  // File names need not be UTF-8, JSON must. ASCII alone, so that no control character of a file reaches a terminal.
  const std::string text = result.dump(2, ' ', true, nlohmann::json::error_handler_t::replace) + '\n';
  if (json_ == "-") {
    std::cout << text << std::flush;
    check<IOError>(std::cout.good(), "cannot write the JSON result to standard output");
    return;
  }
  AtomicFile file(json_);
  file.write(text.data(), text.size());
  file.commit();
}

void check_writable(const std::string& path) {
  std::error_code unknown;
  const auto type = std::filesystem::status(path, unknown).type();
  using std::filesystem::file_type;
  // Opened and closed, a pipe would end for its reader.
  if (type == file_type::fifo || type == file_type::character) return;
  const AtomicFile probe(path);
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

}  // namespace thimble::apps
