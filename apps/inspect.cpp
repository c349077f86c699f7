// thimble inspect
#include <nlohmann/json.hpp>

#include "apps/command.h"
#include "apps/numbers.h"
#include <thimble/core/text.h>
#include <thimble/core/text_table.h>
#include <thimble/serialization/attributes_json.h>
#include <thimble/serialization/checkpoint.h>
#include <thimble/serialization/safetensors.h>

namespace thimble::apps {

namespace {

struct Options {
  Common common;
  std::string file;
};

nlohmann::json nodes_of(const nn::Graph& graph) {
  nlohmann::json nodes = nlohmann::json::array();
  for (const nn::Node* node : graph.nodes()) {
    nlohmann::json inputs = nlohmann::json::array();
    for (const nn::Node* input : node->inputs) inputs.push_back(input->name);
    const bool is_layer = node->kind == nn::Node::Kind::layer;
    nodes.push_back(
        {{"name", node->name},
         {"kind", nn::name(node->kind)},
         {"type", is_layer ? graph.layer(node).type() : node->target},
         {"inputs", inputs},
         {"attributes", detail::attributes_to_json(is_layer ? graph.layer(node).attributes() : node->attributes)}});
  }
  return nodes;
}

void run(const Options& o) {
  o.common.apply();
  const TensorFile file = load_safetensors(o.file);
  // Any safetensors file can be looked at; the graph is there in a model of ours alone.
  const auto format = file.metadata.find("format");
  const bool is_model = format != file.metadata.end() && format->second == "thimble";
  std::ostream& out = o.common.out();
  nlohmann::json result{{"nodes", nlohmann::json::array()},
                        {"tensors", nlohmann::json::array()},
                        {"metadata", nlohmann::json(file.metadata)}};
  if (is_model) {
    constexpr size_t kLongestNotes = 2000;
    const Checkpoint checkpoint = load_checkpoint(o.file);
    out << checkpoint.graph.table() << "notes: " << detail::printable(str(checkpoint.notes), kLongestNotes) << "\n\n";
    result["nodes"] = nodes_of(checkpoint.graph);
  }
  detail::TextTable table({"tensor", "dtype", "shape", "bytes"});
  int64_t total = 0;
  for (const auto& [name, array] : file.tensors) {
    table.add({name, std::string(thimble::name(array.dtype())), str(array.shape()), with_commas(array.nbytes())});
    result["tensors"].push_back({{"name", name},
                                 {"dtype", thimble::name(array.dtype())},
                                 {"shape", array.shape().to_vector()},
                                 {"bytes", array.nbytes()}});
    total += array.nbytes();
  }
  out << table.str() << "tensors: " << file.tensors.size() << ", " << with_commas(total) << " bytes\n";
  o.common.write_json(result);
}

}  // namespace

void add_inspect(CLI::App& app) {
  auto o = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("inspect", "A model's graph, tensors and quantization parameters");
  o->common.add_to(*command);
  command->add_option("file", o->file, "Checkpoint, or any safetensors file")->required()->type_name("FILE");
  command->callback([o] { run(*o); });
}

}  // namespace thimble::apps
