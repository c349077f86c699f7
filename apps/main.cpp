// The thimble program: train, quantize, evaluate and compare models from the command line.
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <iostream>
#include <iterator>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "apps/command.h"
#include "apps/help.h"
#include "apps/interruption.h"
#include <thimble/core/error.h>
#include <thimble/core/kernels/gemm/gemm.h>
#include <thimble/core/text.h>

namespace {

constexpr int kFailure = 1, kUsage = 2;

constexpr const char* kExamples = R"(Examples:
  thimble train --dataset mnist --model mlp --out mlp.safetensors
  thimble quantize mlp.safetensors --method static --out mlp.int8.safetensors
  thimble compare mlp.safetensors mlp.int8.safetensors
Every subcommand explains itself, with examples of its own: thimble help train)";

struct Subcommand {
  std::string_view name;
  void (*add)(CLI::App&);
};

constexpr Subcommand kSubcommands[] = {
    {"train", thimble::apps::add_train},
    {"eval", thimble::apps::add_eval},
    {"quantize", thimble::apps::add_quantize},
    {"bench", thimble::apps::add_bench},
    {"first-answer", thimble::apps::add_first_answer},
    {"import", thimble::apps::add_import},
    {"run", thimble::apps::add_run},
    {"compare", thimble::apps::add_compare},
    {"inspect", thimble::apps::add_inspect},
    {"export", thimble::apps::add_export},
    {"sensitivity", thimble::apps::add_sensitivity},
    {"errors", thimble::apps::add_errors},
    {"report", thimble::apps::add_report},
};

// Only the one that the command line begins with, if it does: to describe all options takes as long as to load a model.
void add_subcommands(CLI::App& app, std::string_view first) {
  const auto* const chosen = std::ranges::find(kSubcommands, first, &Subcommand::name);
  if (chosen != std::end(kSubcommands)) return chosen->add(app);
  for (const Subcommand& subcommand : kSubcommands) subcommand.add(app);
}

// The arguments; "help train" is "train --help". Of "help trian" only "trian" stays, which is then said to be no
// subcommand.
std::vector<std::string> words_of(int argc, char** argv) {
  std::vector<std::string> words(argv + std::min(argc, 1), argv + argc);
  if (words.empty() || words.front() != "help") return words;
  words.erase(words.begin());
  const std::string topic = words.empty() ? "help" : words.front();
  if (topic == "help" || std::ranges::count(kSubcommands, topic, &Subcommand::name) > 0)
    words.insert(words.begin() + (words.empty() ? 0 : 1), "--help");
  return words;
}

// One line, whatever file names and arguments hold.
int fail(const std::string& message, int status) {
  std::cerr << "thimble: " << thimble::detail::printable(message) << '\n';
  return status;
}

// The first word that CLI11 could make nothing of: an option, rather than what may be its value. Empty: none.
std::string unknown_word(const CLI::App& command) {
  const std::vector<std::string> rest = command.remaining();
  const auto option =
      std::ranges::find_if(rest, [](const std::string& word) { return word.starts_with("-") && word != "--"; });
  return option != rest.end() ? *option : "";
}

// CLI11 says of what comes before a subcommand, or instead of one, that a subcommand is missing; and of an option that
// is misspelt, that another one is.
std::string usage_problem(const CLI::App& app, const CLI::Error& error) {
  using namespace thimble::apps;
  const std::vector<CLI::App*> chosen = app.get_subcommands();
  const CLI::App& command = chosen.empty() ? app : *chosen.front();
  const std::vector<std::string> rest = app.remaining();
  if (chosen.empty() && !rest.empty() && !rest.front().starts_with('-'))
    return thimble::str("there is no subcommand '", rest.front(), "'", suggestion(rest.front(), subcommand_names(app)));
  const std::string option = unknown_word(command);
  if (option.empty()) return error.what();
  const std::string name = option.substr(0, option.find('='));
  return thimble::str("there is no option '", name, "'", suggestion(name, option_names(command)));
}

std::string usage_error(const CLI::App& app, const CLI::Error& error) {
  std::string command = "thimble";
  for (const CLI::App* subcommand : app.get_subcommands()) command += ' ' + subcommand->get_name();
  return thimble::str(usage_problem(app, error), " (see ", command, " --help)");
}

std::string version() {
  return thimble::str("thimble ", THIMBLE_VERSION, "\nfloat32 products: ", thimble::kernels::gemm_description());
}

void flush_output() {
  std::cout.flush();
  // A failure to write a line is not always told to the stream above.
  thimble::check<thimble::IOError>(std::cout.good() && std::ferror(stdout) == 0, "cannot write to standard output");
}

int run_command_line(int argc, char** argv) {
  CLI::App app{"Trains neural networks, quantizes them, and runs them in integer arithmetic.", "thimble"};
  app.set_version_flag("--version", version);
  app.formatter(thimble::apps::help_formatter());
  app.require_subcommand(1);
  app.footer(kExamples);
  std::vector<std::string> words = words_of(argc, argv);
  add_subcommands(app, words.empty() ? "" : words.front());
  try {
    std::ranges::reverse(words);  // as CLI11 wants them
    app.parse(words);             // which runs the subcommand, after all was understood
  } catch (const CLI::Success& e) {
    app.exit(e);  // prints what --help asks for
  } catch (const CLI::Error& e) {
    return fail(usage_error(app, e), kUsage);
  }
  flush_output();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace thimble;
  // A line is shown when it is whole, in a pipe as on a terminal.
  std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);
  // Files that grow too large and readers that go away are errors to report, not reasons to vanish.
  std::signal(SIGXFSZ, SIG_IGN);
  std::signal(SIGPIPE, SIG_IGN);
  try {
    return run_command_line(argc, argv);
  } catch (const apps::Interrupted& e) {
    return fail(e.what(), e.status());
  } catch (const Error& e) {
    return fail(e.what(), kFailure);
  } catch (const std::bad_alloc&) {
    return fail("out of memory", kFailure);
  } catch (const std::exception& e) {
    return fail(e.what(), kFailure);
  }
}
