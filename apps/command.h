// What the program's subcommands share. Each lives in a file of its own and adds itself to the command line.
#pragma once

#include <memory>
#include <ostream>
#include <string>

#include <CLI/CLI.hpp>
#include <nlohmann/json_fwd.hpp>

namespace thimble::apps {

/// The options of every subcommand.
class Common {
 public:
  /// Adds --threads and --json to a subcommand.
  void add_to(CLI::App& command);

  /// Puts --threads into effect, and throws IOError if --json names a file that cannot be written.
  void apply() const;

  /// What --threads says; 0 if it was not given.
  int threads() const { return threads_; }

  /// Where people's output goes: standard output, or standard error if --json - has taken that.
  std::ostream& out() const;

  /// Writes the result where --json says, if it was given. Throws IOError.
  void write_json(const nlohmann::json& result) const;

 private:
  int threads_ = 0;
  std::string json_;
};

/// Throws the IOError that writing this file would end in, as far as it can be known before the work is done. Leaves
/// the file as it is.
void check_writable(const std::string& path);

/// Accepts a number from `low` to `high`, which nan is not.
CLI::Validator number_from(double low, double high);

void add_train(CLI::App& app);
void add_eval(CLI::App& app);
void add_quantize(CLI::App& app);
void add_bench(CLI::App& app);
void add_compare(CLI::App& app);
void add_inspect(CLI::App& app);

}  // namespace thimble::apps
