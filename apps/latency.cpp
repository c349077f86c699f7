#include "apps/latency.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <numeric>
#include <vector>

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "apps/numbers.h"

extern char** environ;

namespace thimble::apps {

namespace {

using Clock = std::chrono::steady_clock;

double microseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  const size_t n = values.size();
  return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

std::optional<double> standard_deviation(const std::vector<double>& values, double mean) {
  if (values.size() < 2) return std::nullopt;
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return std::sqrt(squares / static_cast<double>(values.size() - 1));
}

double time_calls(nn::Graph& graph, const std::vector<Tensor>& inputs, int64_t calls) {
  const auto start = Clock::now();
  for (int64_t i = 0; i < calls; ++i) graph.call(inputs);
  return microseconds_since(start) / static_cast<double>(calls);
}

constexpr const char* kProgram = "/proc/self/exe";

// Calls until no signal interrupts.
template <typename F>
auto retry(F&& call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

// Starts the program with its standard output in `out`; -1 if that fails.
pid_t start_program(std::vector<std::string> arguments, int out) {
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
  pid_t child = -1;
  const int error = posix_spawn(&child, kProgram, &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  return error == 0 ? child : -1;
}

// Microseconds from the start of a process with these arguments to its first byte of output.
double time_to_first_byte(const std::vector<std::string>& arguments) {
  int ends[2];
  check<IOError>(pipe2(ends, O_CLOEXEC) == 0, "bench: cannot make a pipe");
  const auto begin = Clock::now();
  const pid_t child = start_program(arguments, ends[1]);
  close(ends[1]);
  char answer = 0;
  const bool answered = child >= 0 && retry([&] { return read(ends[0], &answer, 1); }) == 1;
  const double elapsed = microseconds_since(begin);
  close(ends[0]);
  if (child >= 0) retry([&] { return waitpid(child, nullptr, 0); });
  check<IOError>(answered, "bench: a process that was to answer once did not");
  return elapsed;
}

}  // namespace

std::string std_text(const Latency& latency, int digits) {
  return latency.std_us ? fixed(*latency.std_us, digits) : "-";
}

nlohmann::json std_json(const Latency& latency) {
  return latency.std_us ? nlohmann::json(*latency.std_us) : nlohmann::json();
}

Latency measure_latency(nn::Graph& graph, const std::vector<ModelInput>& inputs, int64_t batch_size, int runs) {
  constexpr double kWarmUp = 5e4, kRun = 2e5;  // microseconds
  const NoGrad guard;
  const std::vector<Tensor> batch = random_inputs(inputs, batch_size);
  int64_t calls = 0;
  const auto start = Clock::now();
  for (; calls < 3 || microseconds_since(start) < kWarmUp; ++calls) graph.call(batch);
  const double estimate = microseconds_since(start) / static_cast<double>(calls);
  const auto calls_a_run = std::max<int64_t>(3, static_cast<int64_t>(kRun / estimate));

  std::vector<double> times;
  for (int run = 0; run < runs; ++run) times.push_back(time_calls(graph, batch, calls_a_run));
  Latency latency;
  latency.mean_us = std::accumulate(times.begin(), times.end(), 0.0) / static_cast<double>(times.size());
  latency.median_us = median(times);
  latency.std_us = standard_deviation(times, latency.mean_us);
  return latency;
}

TimedAnswers timed_answers(nn::Graph& graph, const std::vector<Tensor>& inputs, int calls) {
  const NoGrad guard;
  TimedAnswers timed;
  std::vector<double> times;
  for (int i = 0; i < calls; ++i) {
    const auto start = Clock::now();
    timed.answers = graph.call_outputs(inputs);
    times.push_back(microseconds_since(start));
  }
  timed.median_us = median(times);
  return timed;
}

double measure_first_answer_ms(const std::string& model, const ShapeOption& shapes, int threads) {
  constexpr int kProcesses = 5;
  std::vector<std::string> arguments{kProgram, "first-answer"};
  if (threads > 0) arguments.insert(arguments.end(), {"--threads", std::to_string(threads)});
  for (const std::string& shape : shapes.texts()) arguments.insert(arguments.end(), {"--shape", shape});
  arguments.insert(arguments.end(), {"--", model});  // a file name may begin with a dash
  std::vector<double> times;
  for (int i = 0; i < kProcesses; ++i) times.push_back(time_to_first_byte(arguments) / 1000);
  return median(times);
}

void answer_once(const std::string& model, const ShapeOption& shapes) {
  LoadedModel loaded = load(model);
  const NoGrad guard;
  loaded.graph.call(random_inputs(shapes.inputs_of(loaded), 1));
  check<IOError>(retry([] { return write(STDOUT_FILENO, "1", 1); }) == 1, "cannot write the answer");
}

}  // namespace thimble::apps
