// thimble compare
#include <nlohmann/json.hpp>

#include "apps/command.h"
#include "apps/images.h"
#include "apps/model_row.h"
#include "apps/numbers.h"
#include <thimble/core/progress_bar.h>
#include <thimble/core/text.h>
#include <thimble/core/text_table.h>
#include <thimble/nn/training/evaluate.h>

namespace thimble::apps {

namespace {

struct CompareArguments {
  Common common;
  std::vector<std::string> models;
  DataOptions data;
  ShapeOption shapes;
  int runs = 5;
};

ModelRow measure(LoadedModel& loaded, const CompareArguments& o) {
  const std::vector<ModelInput> inputs = o.shapes.inputs_of(loaded);
  ModelRow row = row_of(loaded);
  const Images images(loaded, o.data);
  row.no_accuracy = images.problem();
  if (row.no_accuracy.empty()) row.accuracy = accuracy(loaded.graph, *images.open(data::Split::test));
  row.b1 = measure_latency(loaded.graph, inputs, 1, o.runs);
  row.b64 = measure_latency(loaded.graph, inputs, 64, o.runs);
  return row;
}

std::string latency_text(const Latency& l) { return str(fixed(l.mean_us, 1), " ± ", std_text(l, 1)); }

void run(const CompareArguments& o) {
  o.common.apply(o.models);
  detail::TextTable table(
      {"model", "dtype", "size (MB)", "parameters", "accuracy (%)", "batch 1 (us)", "batch 64 (us)", "file"});
  nlohmann::json rows = nlohmann::json::array();
  std::string why_not;
  std::vector<LoadedModel> loaded;
  for (const std::string& model : o.models) loaded.push_back(load(model));
  ProgressBar bar("measuring", static_cast<int64_t>(o.models.size()));
  for (size_t i = 0; i < loaded.size(); ++i) {
    bar.update(static_cast<int64_t>(i), o.models[i]);
    const ModelRow r = measure(loaded[i], o);
    table.add({r.label, r.dtype, fixed(static_cast<double>(r.size_bytes) / 1e6, 3), with_commas(r.parameters),
               r.accuracy ? fixed(100 * *r.accuracy, 2) : "-", latency_text(*r.b1), latency_text(*r.b64), r.model});
    if (!r.accuracy) why_not += str("no accuracy: ", detail::printable(r.no_accuracy), '\n');
    rows.push_back(to_json(r));
  }
  bar.finish();
  o.common.out() << table.str() << why_not;
  o.common.write_json({{"rows", rows}});
}

}  // namespace

void add_compare(CLI::App& app) {
  auto o = std::make_shared<CompareArguments>();
  CLI::App* command = app.add_subcommand("compare", "Size, accuracy and latency of models, a row each");
  command->footer(
      "Examples:\n"
      "  thimble compare mlp.safetensors mlp.int8.safetensors");
  o->common.add_to(*command);
  command->add_option("models", o->models, "Checkpoints")->required()->type_name("MODEL");
  o->data.add_to(*command);
  o->shapes.add_to(*command);
  command->add_option("--runs", o->runs, "Timed runs; a standard deviation needs two")
      ->capture_default_str()
      ->check(CLI::Range(1, 10000));
  command->callback([o] { run(*o); });
}

}  // namespace thimble::apps
