// thimble bench
#include <nlohmann/json.hpp>

#include "apps/command.h"
#include "apps/latency.h"
#include "apps/layer_times.h"
#include "apps/model_inputs.h"
#include "apps/numbers.h"
#include <thimble/core/text.h>
#include <thimble/core/text_table.h>

namespace thimble::apps {

namespace {

struct BenchArguments {
  Common common;
  std::string model;
  ShapeOption shapes;
  std::vector<int64_t> batch_sizes{1, 64};
  int runs = 5;
  bool profile = false;
};

void run(const BenchArguments& o) {
  o.common.apply({o.model});
  LoadedModel loaded = load(o.model);
  const std::vector<ModelInput> inputs = o.shapes.inputs_of(loaded);
  nlohmann::json results = nlohmann::json::array();
  detail::TextTable table({"batch size", "mean (us)", "std (us)", "median (us)", "images/s"});
  for (int64_t batch_size : o.batch_sizes) {
    const Latency l = measure_latency(loaded.graph, inputs, batch_size, o.runs);
    const double images_per_second = static_cast<double>(batch_size) / l.median_us * 1e6;
    table.add({std::to_string(batch_size), fixed(l.mean_us, 1), std_text(l, 1), fixed(l.median_us, 1),
               with_commas(static_cast<int64_t>(images_per_second))});
    results.push_back({{"batch_size", batch_size},
                       {"mean_us", l.mean_us},
                       {"std_us", std_json(l)},
                       {"median_us", l.median_us},
                       {"images_per_second", images_per_second}});
  }
  const double first_answer_ms = measure_first_answer_ms(o.model, o.shapes, o.common.threads());
  o.common.out() << detail::printable(o.model) << " (" << dtype_of(loaded.graph) << ")\n"
                 << table.str() << "process start to first answer: " << fixed(first_answer_ms, 1) << " ms\n";
  nlohmann::json result{{"results", results}, {"first_answer_ms", first_answer_ms}};
  if (o.profile) {
    const std::vector<LayerTime> times = layer_times(loaded.graph, inputs, o.batch_sizes[0]);
    print(o.common.out(), times, o.batch_sizes[0]);
    result["layers"] = to_json(times);
  }
  o.common.write_json(result);
}

}  // namespace

void add_bench(CLI::App& app) {
  auto o = std::make_shared<BenchArguments>();
  CLI::App* command = app.add_subcommand("bench", "Latency of a model's inference");
  command->footer(
      "Examples:\n"
      "  thimble bench mlp.int8.safetensors --batch-size 1,64 --threads 1\n"
      "  thimble bench net.safetensors --shape 3,224,224\n"
      "  thimble bench net.int8.safetensors --batch-size 1 --profile");
  o->common.add_to(*command);
  command->add_option("model", o->model, "Checkpoint")->required()->type_name("MODEL");
  o->shapes.add_to(*command);
  command->add_option("--batch-size", o->batch_sizes, "Batch sizes, separated by commas")
      ->delimiter(',')
      ->allow_extra_args(false)  // the model may follow
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000));
  command->add_option("--runs", o->runs, "Timed runs; a standard deviation needs two")
      ->capture_default_str()
      ->check(CLI::Range(1, 10000));
  command->add_flag("--profile", o->profile, "Time of each layer, too, with the first batch size");
  command->callback([o] { run(*o); });
}

void add_first_answer(CLI::App& app) {
  auto o = std::make_shared<BenchArguments>();
  CLI::App* command = app.add_subcommand("first-answer", "Load a model and answer once (bench times this)");
  command->group("");  // not listed
  o->common.add_to(*command);
  command->add_option("model", o->model, "Checkpoint")->required();
  o->shapes.add_to(*command);
  command->callback([o] {
    o->common.apply({o->model});
    answer_once(o->model, o->shapes);
  });
}

}  // namespace thimble::apps
