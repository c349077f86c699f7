// thimble report
#include <nlohmann/json.hpp>

#include "apps/command.h"
#include "apps/report/frontier.h"
#include "apps/report/model_report.h"
#include "apps/report/page.h"
#include <thimble/core/progress_bar.h>
#include <thimble/core/text.h>
#include <thimble/serialization/atomic_file.h>

namespace thimble::apps {

namespace {

using nlohmann::json;

struct ReportArguments {
  Common common;
  std::vector<std::string> models;
  std::string out;
  ReportOptions report;
};

std::optional<double> number_in(const json& model, const char* key) {
  return model.at(key).is_number() ? std::optional(model.at(key).get<double>()) : std::nullopt;
}

// Marks the models that are on the frontier of accuracy and `cost`.
void mark_frontier(json& models, const char* cost, const char* key) {
  std::vector<Candidate> candidates;
  for (const json& model : models) candidates.push_back({number_in(model, cost), number_in(model, "accuracy")});
  const std::vector<bool> on = on_frontier(candidates);
  for (size_t i = 0; i < on.size(); ++i) models[i][key] = static_cast<bool>(on[i]);
}

void write_page(const std::string& path, const std::string& page) {
  AtomicFile file(path);
  file.write(page.data(), page.size());
  file.commit();
}

void run(const ReportArguments& o) {
  o.common.apply(o.models, o.out);
  std::vector<LoadedModel> loaded;
  for (const std::string& model : o.models) loaded.push_back(load(model));
  std::ostream& out = o.common.out();
  json models = json::array();
  std::string why_not;
  {
    ProgressBar bar("report", static_cast<int64_t>(loaded.size()) * kSections);
    int64_t done = 0;
    for (LoadedModel& model : loaded)
      models.push_back(model_report(model, reference_of(model, loaded), o.report, [&](const std::string& section) {
        bar.update(done++, detail::printable(model.path, 40) + "  " + section);
      }));
  }
  for (const json& model : models)
    if (model.at("no_accuracy").is_string())
      why_not += "no accuracy: " + detail::printable(model.at("no_accuracy").get<std::string>()) + '\n';
  mark_frontier(models, "size_bytes", "on_size_frontier");
  mark_frontier(models, "latency_b1_us", "on_latency_frontier");
  const json result{{"out", o.out}, {"version", THIMBLE_VERSION}, {"models", std::move(models)}};
  write_page(o.out, report_page(result));
  out << why_not << "wrote " << detail::printable(o.out) << ": open it in a browser\n";
  o.common.write_json(result);
}

}  // namespace

void add_report(CLI::App& app) {
  auto o = std::make_shared<ReportArguments>();
  CLI::App* command = app.add_subcommand(
      "report", "One page to look at: curves, sizes, accuracy, latency, layers, distributions, mistakes, the graph");
  command->footer(
      "The page needs nothing else, neither a network nor other files: it can be mailed and printed. What it has:\n"
      "- loss and accuracy of each epoch, as thimble train and quantize --method qat note them in their files\n"
      "- size, latency and accuracy of all models, with the frontier: those that no other beats in both\n"
      "- the time that each layer takes, of float and integer models side by side\n"
      "- how weights and activations are distributed, and what integers cut off; give the float model, too, and its\n"
      "  activations are compared with the integers' ranges\n"
      "- which class was taken for which, and the test examples that each model is most wrong about\n"
      "- the graph, with what computes in integers\n"
      "- with --sensitivity: what each layer's quantization costs\n"
      "Without the dataset there is no accuracy, and the page says why.\n"
      "Examples:\n"
      "  thimble report mlp.safetensors mlp.int8.safetensors --out report.html\n"
      "  thimble report mlp.safetensors --sensitivity --images 1000 --out report.html\n"
      "  thimble report mlp.safetensors --runs 0 --out report.html --json -    # nothing timed: the same page each "
      "time");
  o->common.add_to(*command);
  command->add_option("models", o->models, "Checkpoints or ONNX models")->required()->type_name("MODEL");
  command->add_option("--out", o->out, "Page to write")->required()->type_name("FILE.html");
  o->report.data.add_to(*command);
  o->report.shapes.add_to(*command);
  command->add_option("--runs", o->report.runs, "Timed runs for each latency; 0: nothing is timed")
      ->capture_default_str()
      ->check(CLI::Range(0, 10000));
  command->add_option("--images", o->report.images, "Test examples for answers and sensitivity, the first ones [all]")
      ->check(CLI::Range(1, 1000000000));
  command->add_option("--worst", o->report.worst, "How many of the worst mistakes are shown")
      ->capture_default_str()
      ->check(CLI::Range(0, 1000));
  command->add_option("--activation-images", o->report.spread, "Test examples whose activations are counted")
      ->capture_default_str()
      ->check(CLI::Range(1, 100000));
  command->add_flag("--sensitivity", o->report.sensitivity,
                    "Quantize one layer of float models after the other to 8 bits, and measure accuracy and latency "
                    "each time, as thimble sensitivity does; takes its time");
  command->callback([o] {
    o->report.layers.runs = o->report.runs;
    o->report.layers.images = o->report.images;
    run(*o);
  });
}

}  // namespace thimble::apps
