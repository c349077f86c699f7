#include "apps/latency.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <vector>

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "apps/notes.h"
#include <thimble/core/random.h>

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

Tensor random_input(const Shape& input_shape, int64_t batch_size) {
  Shape shape = input_shape;
  shape.insert(0, batch_size);
  Generator generator(1);
  return rand(shape, generator);
}

double time_calls(nn::Graph& graph, const Tensor& input, int64_t calls) {
  const auto start = Clock::now();
  for (int64_t i = 0; i < calls; ++i) graph(input);
  return microseconds_since(start) / static_cast<double>(calls);
}

}  // namespace

Latency measure_latency(nn::Graph& graph, const Shape& input_shape, int64_t batch_size, int runs) {
  constexpr double kWarmUp = 5e4, kRun = 2e5;  // microseconds
  const NoGrad guard;
  const Tensor input = random_input(input_shape, batch_size);
  int64_t calls = 0;
  const auto start = Clock::now();
  for (; calls < 3 || microseconds_since(start) < kWarmUp; ++calls) graph(input);
  const double estimate = microseconds_since(start) / static_cast<double>(calls);
  const auto calls_a_run = std::max<int64_t>(3, static_cast<int64_t>(kRun / estimate));

  std::vector<double> times;
  for (int run = 0; run < runs; ++run) times.push_back(time_calls(graph, input, calls_a_run));
  Latency latency;
  latency.mean_us = std::accumulate(times.begin(), times.end(), 0.0) / static_cast<double>(times.size());
  for (double t : times) latency.std_us += (t - latency.mean_us) * (t - latency.mean_us);
  latency.std_us = times.size() > 1 ? std::sqrt(latency.std_us / static_cast<double>(times.size() - 1)) : 0;
  latency.median_us = median(times);
  return latency;
}

double measure_first_answer_ms(const std::string& model) {
  constexpr int kProcesses = 5;
  std::vector<double> times;
  for (int i = 0; i < kProcesses; ++i) {
    int ends[2];
    check<IOError>(pipe(ends) == 0, "bench: cannot make a pipe");
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    std::string program = "/proc/self/exe", command = "first-answer", path = model;
    char* arguments[] = {program.data(), command.data(), path.data(), nullptr};
    const auto start = Clock::now();
    pid_t child = 0;
    const int error = posix_spawn(&child, program.c_str(), &actions, nullptr, arguments, environ);
    close(ends[1]);
    char answer = 0;
    const bool answered = error == 0 && read(ends[0], &answer, 1) == 1;
    times.push_back(microseconds_since(start) / 1000);
    close(ends[0]);
    posix_spawn_file_actions_destroy(&actions);
    if (error == 0) waitpid(child, nullptr, 0);
    check<IOError>(answered, "bench: a process that was to answer once did not");
  }
  return median(times);
}

void answer_once(const std::string& model) {
  LoadedModel loaded = load(model);
  const NoGrad guard;
  loaded.graph(random_input(loaded.notes.input_shape, 1));
  check<IOError>(write(STDOUT_FILENO, "1", 1) == 1, "cannot write the answer");
}

}  // namespace thimble::apps
