// Running the thimble program as a user does: arguments in; exit status, standard output and standard error out.
#pragma once

#include <algorithm>
#include <csignal>
#include <functional>
#include <string>
#include <vector>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/nn/data/idx_files.h"
#include "tests/serialization/files.h"

namespace thimble::apps {

struct Result {
  int status = -1;  // -1: ended by a signal
  std::string out, err;
};

/// A folder with synthetic data, in which the program runs. Pictures of digit d are bright in row d.
class ProgramTest : public testing::Test {
 protected:
  static constexpr uint32_t kSize = 12;

  ProgramTest() { write_dataset(folder / "data", kSize); }

  static void write_dataset(const std::filesystem::path& where, uint32_t size) {
    std::filesystem::create_directories(where);
    for (const auto& [prefix, count] : {std::pair("train", 200u), std::pair("t10k", 50u)}) {
      std::string images = data::idx_header(8, {count, size, size}), labels = data::idx_header(8, {count});
      for (uint32_t i = 0; i < count; ++i) {
        labels += static_cast<char>(i % 10);
        for (uint32_t p = 0; p < size * size; ++p)
          images += static_cast<char>((p / size == i % 10 ? 200 : 0) + (i * 31 + p * 17) % 50);
      }
      write_bytes(where / (std::string(prefix) + "-images-idx3-ubyte"), images);
      write_bytes(where / (std::string(prefix) + "-labels-idx1-ubyte"), labels);
    }
  }

  /// Runs the program in the folder. Files may not grow beyond `file_limit` bytes.
  Result run(std::vector<std::string> arguments, rlim_t file_limit = RLIM_INFINITY,
             const std::string& out_file = "") const {
    arguments.insert(arguments.begin(), THIMBLE_PROGRAM);
    return execute(std::move(arguments), file_limit, out_file);
  }

  /// The same with any program, which is the first of the arguments. meanwhile(process) is called while it runs.
  Result execute(
      std::vector<std::string> arguments, rlim_t file_limit = RLIM_INFINITY, const std::string& out_file = "",
      const std::function<void(pid_t)>& meanwhile = [](pid_t) {}) const {
    TempFolder output;
    const std::string out = out_file.empty() ? (output / "out").string() : out_file, err = (output / "err").string();
    const pid_t child = fork();
    if (child == 0) {
      std::vector<char*> argv;
      for (std::string& argument : arguments) argv.push_back(argument.data());
      argv.push_back(nullptr);
      const rlimit limit{file_limit, RLIM_INFINITY};
      std::signal(SIGINT, SIG_DFL);  // which a shell may have told us to ignore
      const bool ready = chdir(folder.path().c_str()) == 0 && redirect("/dev/null", O_RDONLY, STDIN_FILENO) &&
                         redirect(out, O_WRONLY | O_CREAT, STDOUT_FILENO) &&
                         redirect(err, O_WRONLY | O_CREAT, STDERR_FILENO) && setrlimit(RLIMIT_FSIZE, &limit) == 0 &&
                         WithoutPowers::give_up_for_good();
      if (ready) execv(argv[0], argv.data());
      _exit(127);
    }
    int status = 0;
    if (child > 0) meanwhile(child);
    if (child < 0 || waitpid(child, &status, 0) != child) throw std::runtime_error("cannot run the program");
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, out_file.empty() ? read_bytes(out) : "", read_bytes(err)};
  }

  /// The JSON of a run that must succeed and write nothing else to standard output.
  nlohmann::json json_of(std::vector<std::string> arguments) const {
    arguments.insert(arguments.end(), {"--json", "-"});
    const Result result = run(arguments);
    EXPECT_EQ(result.status, 0) << result.err;
    const auto json = nlohmann::json::parse(result.out, nullptr, false);
    EXPECT_FALSE(json.is_discarded()) << "not JSON alone: " << result.out;
    return json;
  }

  /// Expects a failure: the status, and one line on standard error that holds `fragment`.
  void expect_failure(const Result& result, int status, const std::string& fragment) const {
    EXPECT_EQ(result.status, status) << result.out << result.err;
    EXPECT_THAT(result.err, testing::StartsWith("thimble: "));
    EXPECT_THAT(result.err, testing::HasSubstr(fragment));
    EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
    EXPECT_THAT(result.err, testing::EndsWith("\n"));
  }
  void expect_failure(const std::vector<std::string>& arguments, int status, const std::string& fragment) const {
    SCOPED_TRACE(testing::PrintToString(arguments));
    expect_failure(run(arguments), status, fragment);
  }

  /// The command line that trains a small model.
  static std::vector<std::string> training(const std::string& out, const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments{"train", "--dataset", "mnist", "--data",       "data", "--model",
                                       "mlp",   "--hidden",  "16",    "--layers",     "1",    "--epochs",
                                       "3",     "--lr",      "0.01",  "--batch-size", "20",   "--threads",
                                       "1",     "--out",     out};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }

  void train(const std::string& out) const {
    const Result result = run(training(out));
    ASSERT_EQ(result.status, 0) << result.err;
  }
  void quantize(const std::string& model, const std::string& out, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments{"quantize", model, "--data", "data", "--out", out};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Result result = run(arguments);
    ASSERT_EQ(result.status, 0) << result.err;
  }

  std::string bytes(const std::string& name) const { return read_bytes(folder / name); }
  /// No file but these and the data: nothing temporary was left.
  void expect_files(std::vector<std::string> names) const {
    names.push_back("data");
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
      found.push_back(entry.path().filename().string());
    EXPECT_THAT(found, testing::UnorderedElementsAreArray(names));
  }

  TempFolder folder;

 private:
  static bool redirect(const std::string& path, int flags, int to) {
    const int fd = open(path.c_str(), flags, 0600);
    return fd >= 0 && dup2(fd, to) == to;
  }
};

}  // namespace thimble::apps
