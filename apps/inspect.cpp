// thimble inspect
#include <map>

#include <nlohmann/json.hpp>

#include "apps/command.h"
#include "apps/numbers.h"
#include "apps/onnx_library.h"
#include "apps/state_keeper.h"
#include <thimble/core/text.h>
#include <thimble/core/text_table.h>
#include <thimble/core/text_wrap.h>
#include <thimble/serialization/checkpoint.h>
#include <thimble/serialization/format_metadata.h>
#include <thimble/serialization/safetensors.h>
#include <thimble/serialization/training_state.h>

namespace thimble::apps {

namespace {

constexpr size_t kLongestText = 2000, kWidth = 100;

struct InspectArguments {
  Common common;
  std::string file;
  bool verify = false;
};

// The nodes as a valid file describes them, each with the type and attributes of the layer it calls.
nlohmann::json nodes_of(const std::string& graph_text) {
  nlohmann::json graph = nlohmann::json::parse(graph_text);
  std::map<std::string, nlohmann::json> layers;
  for (nlohmann::json& layer : graph.at("layers")) layers[layer.at("name")] = layer;
  for (nlohmann::json& node : graph.at("nodes")) {
    const std::string target = node.at("target");
    const bool is_layer = node.at("kind") == "layer";
    node["type"] = is_layer ? layers.at(target).at("type") : nlohmann::json(target);
    if (is_layer) node["attributes"] = layers.at(target).at("attributes");
  }
  return graph.at("nodes");
}

// Text of a file, with a line's end; further lines are set in.
std::string line_of(const std::string& text) {
  constexpr size_t kFollowingIndent = 4;
  std::string lines;
  for (const std::string& line : detail::wrapped(detail::printable(text, kLongestText), kWidth - kFollowingIndent))
    lines += (lines.empty() ? "" : std::string(kFollowingIndent, ' ')) + line + '\n';
  return lines;
}

// What an ONNX model applies, and what of it would be refused.
void inspect_onnx(const InspectArguments& o) {
  check<ValueError>(!o.verify, "--verify: ONNX models have no checksums");
  const onnx::ModelSummary summary = summarize_onnx(o.file);
  std::ostream& out = o.common.out();
  nlohmann::json result{{"nodes", nlohmann::json::array()},
                        {"tensors", nlohmann::json::array()},
                        {"metadata", {{"opset", summary.opset}, {"ir_version", summary.ir_version}}},
                        {"ops", nlohmann::json::array()},
                        {"refusal", nullptr}};
  detail::TextTable ops({"op", "nodes", "covered"});
  for (const onnx::OpCount& op : summary.ops) {
    ops.add({detail::printable(op.op, kLongestText), with_commas(op.count), op.covered ? "yes" : "no"});
    result["ops"].push_back({{"op", op.op}, {"count", op.count}, {"covered", op.covered}});
  }
  out << "ONNX model of opset " << summary.opset << ", IR version " << summary.ir_version << ", made by "
      << detail::quote(summary.producer) << '\n'
      << ops.str(kWidth);
  try {
    out << '\n' << import_onnx(o.file).table();
  } catch (const Error& e) {
    out << "import would refuse it: " << line_of(e.what());
    result["refusal"] = e.what();
  }
  o.common.write_json(result);
}

void run(const InspectArguments& o) {
  o.common.apply({o.file});
  if (is_onnx_file(o.file)) return inspect_onnx(o);
  // Before anything is printed: what a damaged file says of itself may be wrong.
  const bool verified = o.verify && verify_safetensors(o.file);
  const TensorFile file = load_safetensors(o.file);
  // Any safetensors file can be looked at; ours say what they hold besides tensors.
  const auto format = file.metadata.find("format");
  const std::string format_name = format == file.metadata.end() ? "" : format->second;
  std::ostream& out = o.common.out();
  nlohmann::json result{{"nodes", nlohmann::json::array()},
                        {"tensors", nlohmann::json::array()},
                        {"metadata", nlohmann::json(file.metadata)}};
  if (format_name == detail::kModelFormat) {
    const Checkpoint checkpoint = load_checkpoint(o.file);
    out << checkpoint.graph.table() << line_of("notes: " + str(checkpoint.notes)) << '\n';
    result["nodes"] = nodes_of(file.metadata.at("graph"));
  } else if (format_name == detail::kTrainingStateFormat) {
    const TrainingState state = load_training_state(o.file);
    out << "a training state " << detail::printable(origin_of(state), kLongestText) << "\n  learning rate=" << state.lr
        << '\n';
    for (const auto& [name, value] : state.progress) out << "  " << line_of(str(Attributes{{name, value}}));
    out << '\n';
  } else if (!file.metadata.empty()) {
    out << "metadata\n";
    for (const auto& [key, value] : file.metadata) out << "  " << line_of(key + '=' + value);
    out << '\n';
  }
  detail::TextTable table({"tensor", "dtype", "shape", "bytes"});
  int64_t total = 0;
  for (const auto& [name, array] : file.tensors) {
    const auto foreign = file.foreign.find(name);
    const bool is_ours = foreign == file.foreign.end();
    const std::string dtype = is_ours ? std::string(thimble::name(array.dtype())) : foreign->second.dtype;
    const Shape& shape = is_ours ? array.shape() : foreign->second.shape;
    table.add({name, dtype, str(shape), with_commas(array.nbytes())});
    result["tensors"].push_back(
        {{"name", name}, {"dtype", dtype}, {"shape", shape.to_vector()}, {"bytes", array.nbytes()}});
    total += array.nbytes();
  }
  out << table.str(kWidth) << "tensors: " << file.tensors.size() << ", " << with_commas(total) << " bytes\n";
  if (o.verify) {
    if (verified)
      out << "checksums: the header and " << file.tensors.size() << " tensors are right\n";
    else
      out << "checksums: the file has none\n";
    result["verified"] = verified;
  }
  o.common.write_json(result);
}

}  // namespace

void add_inspect(CLI::App& app) {
  auto o = std::make_shared<InspectArguments>();
  CLI::App* command = app.add_subcommand(
      "inspect", "A model's graph, tensors and quantization parameters; what a training state holds");
  command->footer(
      "Examples:\n"
      "  thimble inspect mlp.int8.safetensors --verify\n"
      "  thimble inspect net.onnx    # which ops it applies, and what would be refused");
  o->common.add_to(*command);
  command
      ->add_option(
          "file", o->file,
          "Checkpoint, training state, ONNX model, or any safetensors file; dtypes that Thimble lacks are shown by the "
          "names that the file has")
      ->required()
      ->type_name("FILE");
  command->add_flag(
      "--verify", o->verify,
      "Compare header and tensors with the checksums in the file, which fails if any bit is damaged; files of "
      "other programs have none, and the result says so");
  command->callback([o] { run(*o); });
}

}  // namespace thimble::apps
