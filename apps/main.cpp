// The thimble program: train, quantize, evaluate and compare models from the command line.
#include <csignal>
#include <exception>
#include <iostream>
#include <new>

#include "apps/command.h"
#include <thimble/core/error.h>

namespace {

constexpr int kFailure = 1, kUsage = 2;

constexpr const char* kExamples = R"(
Examples:
  thimble train --dataset mnist --model mlp --hidden 1024 --layers 2 --crop 20 --epochs 2 --out mlp.safetensors
  thimble quantize mlp.safetensors --method static --out mlp.int8.safetensors
  thimble compare mlp.safetensors mlp.int8.safetensors
Every subcommand explains itself: thimble train --help)";

int fail(const std::string& message, int status) {
  std::cerr << "thimble: " << message << '\n';
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace thimble;
  // Files that grow too large and readers that go away are errors to report, not reasons to vanish.
  std::signal(SIGXFSZ, SIG_IGN);
  std::signal(SIGPIPE, SIG_IGN);
  CLI::App app{"Trains neural networks, quantizes them, and runs them in integer arithmetic.", "thimble"};
  app.require_subcommand(1);
  app.footer(kExamples);
  apps::add_train(app);
  apps::add_eval(app);
  apps::add_quantize(app);
  apps::add_bench(app);
  apps::add_compare(app);
  apps::add_inspect(app);
  // Subcommands run while the command line is parsed, after all of it was understood.
  try {
    app.parse(argc, argv);
    return 0;
  } catch (const CLI::Success& e) {
    return app.exit(e);  // --help
  } catch (const CLI::Error& e) {
    return fail(std::string(e.what()) + " (see thimble --help)", kUsage);
  } catch (const Error& e) {
    return fail(e.what(), kFailure);
  } catch (const std::bad_alloc&) {
    return fail("out of memory", kFailure);
  } catch (const std::exception& e) {
    return fail(e.what(), kFailure);
  }
}
