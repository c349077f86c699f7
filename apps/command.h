// What the program's subcommands share. Each lives in a file of its own and adds itself to the command line.
#pragma once

#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json_fwd.hpp>

namespace thimble::apps {

/// The options of every subcommand.
class Common {
 public:
  /// Adds --threads and --json to a subcommand.
  void add_to(CLI::App& command);

  /// To be called before the work, with the files that the command reads, the one that --out names and the folder of
  /// training states. Puts --threads into effect. Throws CLI::ValidationError if --out or --json would replace another
  /// of these files or the folder's own, and IOError if one of the two cannot be written.
  void apply(const std::vector<std::string>& inputs, const std::optional<std::string>& out = {},
             const std::string& states = {}) const;

  /// What --threads says; 0 if it was not given.
  int threads() const { return threads_; }

  /// Where people's output goes: standard output, or standard error if --json - has taken that.
  std::ostream& out() const;

  /// Writes the result where --json says, if it was given. Throws IOError.
  void write_json(const nlohmann::json& result) const;

 private:
  bool json_is_file() const { return !json_.empty() && json_ != "-"; }

  int threads_ = 0;
  std::string json_;
};

/// Accepts a number from `low` to `high`, which nan is not.
CLI::Validator number_from(double low, double high);

/// Accepts sizes from 1 byte to 2^60, "500000", "500KB" or "1.5MB" (powers of 1000; KiB, MiB, GiB of 1024), and makes
/// them numbers of bytes.
CLI::Validator byte_size();

/// Accepts a number from 0 to 1, or "98.5%", and makes it one from 0 to 1.
CLI::Validator fraction();

/// Accepts what a uint64_t can hold, which CLI11 does not check.
CLI::Validator uint64_number();

void add_train(CLI::App& app);
void add_eval(CLI::App& app);
void add_quantize(CLI::App& app);
void add_bench(CLI::App& app);
/// What bench starts to time a process from its start; not listed in the help.
void add_first_answer(CLI::App& app);
void add_import(CLI::App& app);
void add_run(CLI::App& app);
void add_compare(CLI::App& app);
void add_inspect(CLI::App& app);
void add_export(CLI::App& app);
void add_sensitivity(CLI::App& app);
void add_errors(CLI::App& app);
void add_report(CLI::App& app);

}  // namespace thimble::apps
