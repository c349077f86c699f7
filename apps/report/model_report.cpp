#include "apps/report/model_report.h"

#include <algorithm>
#include <memory>
#include <numeric>

#include <nlohmann/json.hpp>

#include "apps/layer_times.h"
#include "apps/model_row.h"
#include "apps/report/answers.h"
#include "apps/report/example_view.h"
#include "apps/report/graph_drawing.h"
#include "apps/report/value_histograms.h"
#include "apps/training_history.h"
#include <thimble/quant/passes/fuse.h>

namespace thimble::apps {

namespace {

using nlohmann::json;

// The test set, or why there is none.
struct TestSet {
  std::shared_ptr<const data::Dataset> examples;
  std::string problem;
};

TestSet test_set_of(const Images& images, const DataOptions& options) {
  if (std::string problem = images.problem(); !problem.empty()) return {{}, std::move(problem)};
  if (!options.dataset.empty() || !options.folder.empty()) return {images.open(data::Split::test), ""};
  try {
    return {images.open(data::Split::test), ""};
  } catch (const Error& e) {  // its usual folder is empty: the report says so, and has all the rest
    return {{}, e.what()};
  }
}

json worst_of(const Answers& answers, const data::Dataset& test) {
  json rows = json::array();
  for (const WrongAnswer& wrong : answers.worst) {
    json& row = rows.emplace_back(example_view(test, wrong.index));
    row["index"] = wrong.index;
    row["label"] = wrong.label;
    row["predicted"] = wrong.predicted;
    row["probability"] = wrong.probability;
    row["loss"] = wrong.loss;
  }
  return rows;
}

// Few at a time, since the values of all nodes are in memory.
std::vector<Tensor> few_examples(const data::Dataset& test, int64_t count) {
  constexpr int64_t kBatch = 16;
  std::vector<Tensor> batches;
  for (int64_t first = 0; first < std::min(count, test.size()); first += kBatch) {
    std::vector<int64_t> indices(static_cast<size_t>(std::min({kBatch, count - first, test.size() - first})));
    std::iota(indices.begin(), indices.end(), first);
    batches.push_back(test.batch(indices).fields()[0].second);
  }
  return batches;
}

json activations_of(const LoadedModel& loaded, const LoadedModel* reference, const TestSet& test, int64_t count) {
  if (!test.examples) return nullptr;
  const std::vector<Tensor> batches = few_examples(*test.examples, count);
  const nn::Graph fused = reference ? quant::fuse_conv_bn_relu(reference->graph) : nn::Graph();
  return {{"examples", std::min(count, test.examples->size())},
          {"reference", reference ? json(reference->path) : json()},
          {"layers", activation_histograms(loaded.graph, batches, reference ? &fused : nullptr)}};
}

json times_of(const LoadedModel& loaded, const std::vector<ModelInput>& inputs) {
  constexpr int64_t kBatch = 1;
  return {{"batch_size", kBatch}, {"layers", to_json(layer_times(loaded.graph, inputs, kBatch))}};
}

bool has_layers_of(const nn::Graph& graph, const nn::Graph& names) {
  return std::ranges::any_of(graph.nodes(), [&](const nn::Node* node) {
    return node->kind == nn::Node::Kind::layer && names.find(node->name) != nullptr;
  });
}

bool was_equalized(const LoadedModel& model) {
  const auto flag = std::ranges::find(model.attributes, "equalized", [](const auto& note) { return note.first; });
  const bool said = flag != model.attributes.end() && std::holds_alternative<bool>(flag->second);
  return (said && std::get<bool>(flag->second)) || !model.attributes.part("equalized_pair.").empty();
}

bool has_inputs_of(const LoadedModel& a, const LoadedModel& b) {
  if (!a.notes || !b.notes) return false;
  return a.notes->preparation == b.notes->preparation && a.notes->input_shape == b.notes->input_shape &&
         a.notes->model == b.notes->model;
}

}  // namespace

json model_report(LoadedModel& loaded, const LoadedModel* reference, const ReportOptions& o,
                  const OnSection& on_section) {
  const std::vector<ModelInput> inputs = o.shapes.inputs_of(loaded);
  const Images images(loaded, o.data);
  on_section("answers");
  const TestSet test = test_set_of(images, o.data);
  ModelRow row = row_of(loaded);
  row.no_accuracy = test.problem;
  json answers, worst = json::array(), dataset;
  if (test.examples) {
    const Answers of_test = answers_of(loaded.graph, *test.examples, o.images, o.worst);
    row.accuracy = of_test.confusion.accuracy();
    answers = to_json(of_test);
    worst = worst_of(of_test, *test.examples);
    dataset = images.dataset();
  }
  on_section("latency");
  if (o.runs > 0) {
    row.b1 = measure_latency(loaded.graph, inputs, 1, o.runs);
    row.b64 = measure_latency(loaded.graph, inputs, 64, o.runs);
  }
  json report = to_json(row);
  report["no_accuracy"] = row.accuracy ? json() : json(row.no_accuracy);
  report["dataset"] = std::move(dataset);
  report["answers"] = std::move(answers);
  report["worst"] = std::move(worst);
  report["history"] = epochs_json(history_in(loaded.attributes, kHistory));
  report["qat_history"] = epochs_json(history_in(loaded.attributes, kQatHistory));
  on_section("layers");
  report["layer_times"] = o.runs > 0 ? times_of(loaded, inputs) : json();
  on_section("weights and activations");
  report["weights"] = weight_histograms(loaded.graph);
  report["activations"] = activations_of(loaded, reference, test, o.spread);
  on_section("graph");
  report["graph"] = graph_drawing(loaded.graph, inputs);
  on_section("sensitivity");
  const bool measured = o.sensitivity && test.examples && method_of(loaded) == "baseline";
  report["sensitivity"] = measured ? to_json(measure_sensitivity(loaded, images, o.layers), o.layers) : json();
  return report;
}

const LoadedModel* reference_of(const LoadedModel& quantized, const std::vector<LoadedModel>& models) {
  if (method_of(quantized) == "baseline" || was_equalized(quantized)) return nullptr;
  const auto it = std::ranges::find_if(models, [&](const LoadedModel& model) {
    return method_of(model) == "baseline" && has_inputs_of(model, quantized) &&
           parameters_of(model) == parameters_of(quantized) && has_layers_of(quantized.graph, model.graph);
  });
  return it == models.end() ? nullptr : &*it;
}

}  // namespace thimble::apps
