// thimble run
#include <algorithm>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "apps/command.h"
#include "apps/input_arrays.h"
#include "apps/latency.h"
#include "apps/numbers.h"
#include <thimble/core/text.h>
#include <thimble/core/text_table.h>
#include <thimble/serialization/npy.h>

namespace thimble::apps {

namespace {

namespace fs = std::filesystem;

struct RunArguments {
  Common common;
  std::string model, output;
  std::vector<std::string> inputs;
  int repeat = 1;
};

struct Output {
  std::string name;
  fs::path file;
  NDArray array;
};

// Names of nodes may hold what file names cannot.
std::string file_name(const std::string& name) {
  std::string file = name;
  for (char& c : file) {
    const bool is_plain =
        (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
    if (!is_plain) c = '_';
  }
  return file + ".npy";
}

// Where the graph's outputs go.
std::vector<Output> outputs_of(const nn::Graph& graph, const fs::path& folder) {
  std::vector<Output> outputs;
  for (const nn::GraphOutput& output : graph.outputs()) {
    const fs::path file = folder / file_name(output.name);
    const auto same = std::ranges::find(outputs, file, &Output::file);
    check<ValueError>(same == outputs.end(), "run: the outputs ",
                      detail::quote(same == outputs.end() ? "" : same->name), " and ", detail::quote(output.name),
                      " would both be written to ", detail::quote_path(file));
    outputs.push_back({output.name, file, {}});
  }
  return outputs;
}

void check_replaces_none(const fs::path& file, const std::vector<std::string>& inputs) {
  for (const std::string& input : inputs) {
    std::error_code error;
    check<ValueError>(!fs::equivalent(file, input, error), "--output: ", detail::quote_path(file),
                      " would replace the input ", detail::quote_path(input));
  }
}

void print(std::ostream& out, const std::vector<Output>& outputs, double median_us) {
  detail::TextTable table({"output", "dtype", "shape", "file"});
  for (const Output& output : outputs)
    table.add({output.name, std::string(name(output.array.dtype())), str(output.array.shape()), output.file.string()});
  out << table.str() << "median of the calls: " << fixed(median_us, 1) << " us\n";
}

nlohmann::json to_json(const std::vector<Output>& outputs) {
  nlohmann::json list = nlohmann::json::array();
  for (const Output& output : outputs)
    list.push_back({{"name", output.name},
                    {"file", output.file.string()},
                    {"dtype", name(output.array.dtype())},
                    {"shape", output.array.shape().to_vector()}});
  return list;
}

void run(const RunArguments& o) {
  std::vector<std::string> files{o.model};
  for (const std::string& input : o.inputs) files.insert(files.end(), {input, input.substr(input.find('=') + 1)});
  o.common.apply(files);
  LoadedModel model = load(o.model);
  const std::vector<Tensor> inputs = input_arrays(model, o.inputs);
  std::vector<Output> outputs = outputs_of(model.graph, o.output);
  std::vector<std::string> read = array_files(model, o.inputs);
  read.push_back(o.model);
  for (const Output& output : outputs) check_replaces_none(output.file, read);

  const auto [answers, median_us] = timed_answers(model.graph, inputs, o.repeat);
  for (size_t i = 0; i < outputs.size(); ++i) outputs[i].array = detail::as_npy(answers[i].data());
  std::error_code error;
  fs::create_directories(o.output, error);  // its failure is that of the first file
  for (const Output& output : outputs) save_npy(output.file, output.array);
  print(o.common.out(), outputs, median_us);
  o.common.write_json({{"outputs", to_json(outputs)}, {"median_us", median_us}});
}

}  // namespace

void add_run(CLI::App& app) {
  auto o = std::make_shared<RunArguments>();
  CLI::App* command = app.add_subcommand("run", "A model's answers for NumPy arrays");
  command->footer(
      "Examples:\n"
      "  thimble run mlp.safetensors --input images.npy --output answers\n"
      "  thimble run net.safetensors --input image=images.npy --output answers --repeat 100");
  o->common.add_to(*command);
  command->add_option("model", o->model, "Checkpoint")->required()->type_name("MODEL");
  command
      ->add_option(
          "--input", o->inputs,
          "An input's array, whose first dimension counts the samples; with one input its name may be left out")
      ->required()
      ->allow_extra_args(false)  // the model may follow
      ->type_name("[NAME=]FILE.npy");
  command
      ->add_option("--output", o->output,
                   "Folder for the answers, NAME.npy for each output; characters other than A-Z a-z 0-9 . _ - become _")
      ->required()
      ->type_name("DIR");
  command->add_option("--repeat", o->repeat, "Calls, for the median of their times")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000));
  command->callback([o] { run(*o); });
}

}  // namespace thimble::apps
