#include "apps/command.h"

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
}

std::ostream& Common::out() const { return json_ == "-" ? std::cerr : std::cout; }

void Common::write_json(const nlohmann::json& result) const {
  if (json_.empty()) return;
  // File names need not be UTF-8, JSON must.
  const std::string text = result.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + '\n';
  if (json_ == "-") {
    std::cout << text << std::flush;
    check<IOError>(std::cout.good(), "cannot write the JSON result to standard output");
    return;
  }
  AtomicFile file(json_);
  file.write(text.data(), text.size());
  file.commit();
}

}  // namespace thimble::apps
