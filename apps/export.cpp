// thimble export
#include <nlohmann/json.hpp>

#include "apps/command.h"
#include "apps/exported_arrays.h"
#include "apps/model_inputs.h"
#include "apps/onnx_library.h"
#include <thimble/core/text.h>
#include <thimble/core/text_table.h>
#include <thimble/nn/graph/sample.h>
#include <thimble/serialization/npz.h>
#include <thimble/serialization/safetensors.h>

namespace thimble::apps {

namespace {

constexpr const char *kNpz = "npz", *kOnnx = "onnx";

struct ExportArguments {
  Common common;
  std::string model, format = kNpz, out;
  int64_t opset = 0;
  bool reduce_range = false;
  ShapeOption shape;
};

void export_npz(const ExportArguments& o) {
  const LoadedModel model = load(o.model);
  const auto arrays = exported_arrays(model, load_safetensors(o.model).metadata.at("graph"));
  save_npz(o.out, arrays);

  detail::TextTable table({"array", "dtype", "shape"});
  nlohmann::json list = nlohmann::json::array();
  for (const auto& [name, array] : arrays) {
    table.add({name, std::string(thimble::name(array.dtype())), str(array.shape())});
    list.push_back({{"name", name}, {"dtype", thimble::name(array.dtype())}, {"shape", array.shape().to_vector()}});
  }
  o.common.out() << table.str() << "saved " << detail::printable(o.out) << ": " << arrays.size() << " arrays\n";
  o.common.write_json({{"out", o.out}, {"arrays", list}});
}

// As the file, its notes or --shape say.
void describe_inputs(LoadedModel& model, const ShapeOption& shape) {
  const std::vector<ModelInput> inputs = shape.inputs_of(model);
  for (const ModelInput& input : inputs) {
    Shape one = input.shape;
    one.insert(0, 1);
    model.graph.find(input.name)->attributes = nn::sample_attributes(Tensor(NDArray::placeholder(one, input.dtype)));
  }
}

// Text as it is, all else as JSON.
std::vector<std::pair<std::string, std::string>> metadata_of(const Attributes& notes) {
  std::vector<std::pair<std::string, std::string>> metadata;
  for (const auto& [key, value] : notes) {
    const auto* text = std::get_if<std::string>(&value);
    metadata.emplace_back(
        key, text ? *text : std::visit([](const auto& held) { return nlohmann::json(held).dump(); }, value));
  }
  return metadata;
}

void export_onnx_model(const ExportArguments& o) {
  LoadedModel model = load(o.model);
  describe_inputs(model, o.shape);
  const onnx::ExportReport report =
      export_onnx(model.graph, o.out, {o.opset, o.reduce_range, metadata_of(model.attributes)});
  o.common.out() << "saved " << detail::printable(o.out) << ": opset " << report.opset << ", " << report.nodes
                 << " nodes\n";
  nlohmann::json options = nlohmann::json::object();
  for (const auto& option : report.session_options) {
    options[option.key] = option.value;
    o.common.out() << "ONNX Runtime needs the session option " << option.key << '=' << option.value << ": "
                   << option.reason << '\n';
  }
  o.common.write_json({{"out", o.out}, {"opset", report.opset}, {"nodes", report.nodes}, {"session_options", options}});
}

void run(const ExportArguments& o) {
  o.common.apply({o.model}, o.out);
  if (o.format == kOnnx) return export_onnx_model(o);
  const char* option = o.opset != 0 ? "--opset" : o.reduce_range ? "--reduce-range" : "--shape";
  if (o.opset != 0 || o.reduce_range || !o.shape.texts().empty())
    throw CLI::ValidationError(option, str("is for --format ", kOnnx, ", not ", o.format));
  export_npz(o);
}

}  // namespace

void add_export(CLI::App& app) {
  auto o = std::make_shared<ExportArguments>();
  CLI::App* command = app.add_subcommand("export", "A model for other programs: as ONNX, or as arrays");
  command->footer(
      "Examples:\n"
      "  thimble export mlp.int8.safetensors --format onnx --out mlp.int8.onnx\n"
      "  thimble export mlp.int8.safetensors --format npz --out mlp.npz");
  o->common.add_to(*command);
  command->add_option("model", o->model, "Checkpoint")->required()->type_name("MODEL");
  command
      ->add_option("--format", o->format,
                   "npz: weights, biases, scales and zero points as NumPy arrays, numpy.load(FILE) in Python; onnx "
                   "(integer layers as DequantizeLinear, float op, QuantizeLinear): the "
                   "model")
      ->capture_default_str()
      ->check(CLI::IsMember({kNpz, kOnnx}));
  command->add_option("--out", o->out, "File to write")->required()->type_name("FILE");
  command->add_option("--opset", o->opset, "onnx: version of its ops, 17 to 25 (default: the least that has all)")
      ->type_name("N");
  command->add_flag("--reduce-range", o->reduce_range,
                    "onnx: weights of integer layers of 7 bits, for processors without VNNI");
  o->shape.add_to(*command);
  command->callback([o] { run(*o); });
}

}  // namespace thimble::apps
