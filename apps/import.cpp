// thimble import
#include <charconv>

#include <nlohmann/json.hpp>

#include "apps/command.h"
#include "apps/numbers.h"
#include "apps/onnx_library.h"
#include <thimble/core/text.h>
#include <thimble/core/text_table.h>
#include <thimble/nn/graph/sample.h>
#include <thimble/serialization/checkpoint.h>

namespace thimble::apps {

namespace {

struct ImportArguments {
  Common common;
  std::string model, out;
  std::vector<std::string> shapes, values;
};

// Sizes that are free are null: the batch, and those of an input of which the file gives no others.
nlohmann::json input_json(const nn::Node& input) {
  nlohmann::json shape = nullptr, dtype = nullptr;
  if (const std::optional<nn::Sample> sample = nn::sample_of(input)) {
    shape = nlohmann::json::array({nullptr});
    for (const int64_t size : sample->shape) shape.push_back(size);
    dtype = name(sample->dtype);
  }
  return {{"name", input.name}, {"dtype", dtype}, {"shape", shape}};
}

// "NAME=VALUE" as two.
std::pair<std::string, std::string> name_and_value(const char* option, const std::string& text) {
  const size_t equals = text.rfind('=');
  check<ValueError>(equals != std::string::npos && equals > 0, option, ' ', detail::quote(text),
                    " is not of the form NAME=VALUE");
  return {text.substr(0, equals), text.substr(equals + 1)};
}

onnx::ImportOptions options_of(const ImportArguments& o) {
  onnx::ImportOptions options;
  for (const std::string& text : o.shapes) {
    const auto [name, value] = name_and_value("--shape", text);
    const auto sizes = sizes_in(value);
    check<ValueError>(sizes.has_value(), "--shape ", detail::quote(text), " is not of the form NAME=1,3,224,224");
    options.shapes[name] = Shape(*sizes);
  }
  for (const std::string& text : o.values) {
    const auto [name, value] = name_and_value("--set", text);
    const char* end = value.data() + value.size();
    const auto [rest, error] = std::from_chars(value.data(), end, options.values[name]);
    check<ValueError>(error == std::errc() && rest == end, "--set ", detail::quote(text), ": the value is no number");
  }
  return options;
}

void run(const ImportArguments& o) {
  o.common.apply({o.model}, o.out);
  check<ValueError>(is_onnx_file(o.model), detail::quote_path(o.model), " is not named .onnx");
  onnx::ImportOptions options = options_of(o);
  quant::ConversionReport kept_float;
  options.report = &kept_float;
  const nn::Graph graph = import_onnx(o.model, options);
  save_model(graph, o.out);

  nlohmann::json inputs = nlohmann::json::array(), outputs = nlohmann::json::array();
  detail::TextTable table({"", "name"}, detail::TextTable::Align::left);
  for (const nn::Node* input : graph.inputs()) {
    inputs.push_back(input_json(*input));
    table.add({"input", input->name});
  }
  for (const nn::GraphOutput& output : graph.outputs()) {
    outputs.push_back({{"name", output.name}});
    table.add({"output", output.name});
  }
  o.common.out() << table.str() << graph.nodes().size() << " nodes, " << graph.num_parameters() << " parameters in "
                 << detail::quote_path(o.out) << '\n';
  nlohmann::json kept = nlohmann::json::array();
  for (const quant::LayerReport& node : kept_float) {
    kept.push_back({{"name", node.name}, {"type", node.type}, {"reason", node.reason}});
    o.common.out() << node.type << ' ' << detail::quote(node.name)
                   << " computes with dequantized values: " << node.reason << '\n';
  }
  o.common.write_json({{"out", o.out},
                       {"inputs", inputs},
                       {"outputs", outputs},
                       {"nodes", graph.nodes().size()},
                       {"kept_float", kept},
                       {"opset", summarize_onnx(o.model).opset}});
}

}  // namespace

void add_import(CLI::App& app) {
  auto o = std::make_shared<ImportArguments>();
  CLI::App* command = app.add_subcommand("import", "An ONNX model as a checkpoint");
  command->footer(
      "Examples:\n"
      "  thimble import resnet18.onnx --out resnet18.safetensors\n"
      "  thimble import vad.onnx --set sr=16000 --shape input=1,512 --out vad.safetensors");
  o->common.add_to(*command);
  command
      ->add_option("model", o->model,
                   "ONNX model, of opset 1 to 25, which other commands read, too; ops that are not covered are listed, "
                   "with the nodes that apply them")
      ->required()
      ->type_name("FILE.onnx");
  command->add_option("--out", o->out, "Checkpoint to write")->required()->type_name("FILE");
  command->add_option("--shape", o->shapes, "Sizes of an input, the batch first, where the file leaves them free")
      ->allow_extra_args(false)
      ->type_name("NAME=1,3,224,224");
  command->add_option("--set", o->values, "Makes an input of one number a constant")
      ->allow_extra_args(false)
      ->type_name("NAME=VALUE");
  command->callback([o] { run(*o); });
}

}  // namespace thimble::apps
