// The thimble program: train, quantize, evaluate and compare models from the command line.
#include <algorithm>
#include <csignal>
#include <exception>
#include <iostream>
#include <iterator>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "apps/command.h"
#include "apps/interruption.h"
#include <thimble/core/error.h>
#include <thimble/core/text.h>

namespace {

constexpr int kFailure = 1, kUsage = 2;

constexpr const char* kExamples = R"(
Examples:
  thimble train --dataset mnist --model mlp --hidden 1024 --layers 2 --crop 20 --epochs 2 --out mlp.safetensors
  thimble quantize mlp.safetensors --method static --out mlp.int8.safetensors
  thimble compare mlp.safetensors mlp.int8.safetensors
Every subcommand explains itself: thimble train --help)";

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
    {"compare", thimble::apps::add_compare},
    {"inspect", thimble::apps::add_inspect},
    {"export", thimble::apps::add_export},
    {"sensitivity", thimble::apps::add_sensitivity},
    {"errors", thimble::apps::add_errors},
};

// Only the one that the command line begins with, if it does: to describe all options takes as long as to load a model.
void add_subcommands(CLI::App& app, std::string_view first) {
  const auto* const chosen = std::ranges::find(kSubcommands, first, &Subcommand::name);
  if (chosen != std::end(kSubcommands)) return chosen->add(app);
  for (const Subcommand& subcommand : kSubcommands) subcommand.add(app);
}

// One line, whatever file names and arguments hold.
int fail(const std::string& message, int status) {
  std::cerr << "thimble: " << thimble::detail::printable(message) << '\n';
  return status;
}

// CLI11 says of what comes before a subcommand, or instead of one, that a subcommand is missing.
std::string usage_problem(const CLI::App& app, const CLI::Error& error) {
  const std::vector<std::string> rest = app.remaining();
  if (!app.get_subcommands().empty() || rest.empty()) return error.what();
  const bool is_option = rest.front().starts_with('-');
  return thimble::str("there is no ", is_option ? "option" : "subcommand", " '", rest.front(), "'");
}

std::string usage_error(const CLI::App& app, const CLI::Error& error) {
  std::string command = "thimble";
  for (const CLI::App* subcommand : app.get_subcommands()) command += ' ' + subcommand->get_name();
  return thimble::str(usage_problem(app, error), " (see ", command, " --help)");
}

void flush_output() {
  std::cout.flush();
  thimble::check<thimble::IOError>(std::cout.good(), "cannot write to standard output");
}

}  // namespace

int main(int argc, char** argv) {
  using namespace thimble;
  // Files that grow too large and readers that go away are errors to report, not reasons to vanish.
  std::signal(SIGXFSZ, SIG_IGN);
  std::signal(SIGPIPE, SIG_IGN);
  CLI::App app{"Trains neural networks, quantizes them, and runs them in integer arithmetic.", "thimble"};
  app.set_version_flag("--version", "thimble " THIMBLE_VERSION);
  app.require_subcommand(1);
  app.footer(kExamples);
  add_subcommands(app, argc > 1 ? argv[1] : "");
  // Subcommands run while the command line is parsed, after all of it was understood.
  try {
    try {
      app.parse(argc, argv);
    } catch (const CLI::Success& e) {
      app.exit(e);  // prints what --help asks for
    }
    flush_output();
    return 0;
  } catch (const CLI::Error& e) {
    return fail(usage_error(app, e), kUsage);
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
