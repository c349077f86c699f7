#include "apps/model_inputs.h"

#include <algorithm>

#include "apps/numbers.h"
#include "apps/sample_shape.h"
#include <thimble/core/random.h>
#include <thimble/core/text.h>
#include <thimble/nn/graph/sample.h>

namespace thimble::apps {

namespace {

struct NamedShape {
  std::string name;  // empty: of the only input
  Shape shape;
};

// "3,224,224", or "image=3,224,224".
NamedShape parse(const std::string& text) {
  const size_t equals = text.rfind('=');
  NamedShape parsed;
  if (equals != std::string::npos) parsed.name = text.substr(0, equals);
  const auto sizes = sizes_in(std::string_view(text).substr(equals == std::string::npos ? 0 : equals + 1));
  check<ValueError>(sizes.has_value(), detail::quote(text), " is not of the form [NAME=]3,224,224");
  parsed.shape = checked_sample_shape<ValueError>("the shape", *sizes);
  return parsed;
}

CLI::Validator well_formed() {
  return {[](std::string& text) -> std::string {
            try {
              parse(text);
              return "";
            } catch (const Error& e) {
              return e.what();
            }
          },
          ""};
}

std::string listed(const std::vector<nn::Node*>& inputs) {
  std::string names;
  for (const nn::Node* input : inputs) names += (names.empty() ? "" : ", ") + detail::quote(input->name);
  return names;
}

// Indices that every embedding which reads the input has a row for.
int64_t valid_indices(const nn::Graph& graph, const nn::Node* input) {
  std::optional<int64_t> fewest;
  for (const nn::Node* user : graph.users(input)) {
    const Attributes attributes = user->kind == nn::Node::Kind::layer ? graph.layer(user).attributes() : Attributes();
    if (!attributes.contains("num_embeddings")) return 1;
    const auto rows = attributes.get<int64_t>("num_embeddings");
    fewest = std::min(rows, fewest.value_or(rows));
  }
  return fewest.value_or(1);
}

ModelInput input_in_file(const LoadedModel& model, const nn::Node* node, bool is_only) {
  ModelInput input{node->name, DType::float32, {}, 1};
  if (const auto sample = nn::sample_of(*node)) {
    input.dtype = sample->dtype;
    input.shape = checked_sample_shape<FormatError>(
        str(detail::quote_path(model.path), ": graph: sample_shape of ", detail::quote(node->name)),
        sample->shape.to_vector());
  } else {  // not traced, or saved before inputs remembered their example
    const bool in_notes = is_only && model.notes && model.notes->input_shape;
    check<ValueError>(in_notes, detail::quote_path(model.path), " does not say of what shape its input ",
                      detail::quote(node->name), " is: tell it without the batch, as --shape ",
                      is_only ? "" : node->name, is_only ? "" : "=", "3,224,224");
    input.shape = *model.notes->input_shape;
  }
  return input;
}

}  // namespace

void ShapeOption::add_to(CLI::App& command) {
  command
      .add_option("--shape", texts_,
                  "Sizes of an input without the batch, 3,224,224, for a file that does not say them or a model that "
                  "takes any; NAME=3,224,224 where there are several inputs")
      ->allow_extra_args(false)  // a model may follow
      ->type_name("[NAME=]SIZES")
      ->check(well_formed());
}

std::vector<ModelInput> ShapeOption::inputs_of(const LoadedModel& model) const {
  const auto nodes = model.graph.inputs();
  std::vector<NamedShape> given;
  for (const std::string& text : texts_) {
    given.push_back(parse(text));
    const NamedShape& shape = given.back();
    const bool known =
        shape.name.empty() ? nodes.size() == 1 : std::ranges::count(nodes, shape.name, &nn::Node::name) > 0;
    check<ValueError>(known, "--shape ", detail::quote(text), shape.name.empty() ? " says not of which input" : "",
                      ": the inputs of ", detail::quote_path(model.path), " are ", listed(nodes));
  }
  std::vector<ModelInput> inputs;
  for (const nn::Node* node : nodes) {
    const auto told = std::ranges::find_if(
        given, [&](const NamedShape& shape) { return shape.name.empty() || shape.name == node->name; });
    if (told == given.end()) {
      inputs.push_back(input_in_file(model, node, nodes.size() == 1));
    } else {
      const auto sample = nn::sample_of(*node);
      inputs.push_back({node->name, sample ? sample->dtype : DType::float32, told->shape, 1});
    }
    inputs.back().values = valid_indices(model.graph, node);
  }
  return inputs;
}

std::vector<Tensor> random_inputs(const std::vector<ModelInput>& inputs, int64_t batch_size) {
  std::vector<Tensor> tensors;
  Generator generator(1);
  for (const ModelInput& input : inputs) {
    Shape shape = input.shape;
    shape.insert(0, batch_size);
    if (is_floating_point(input.dtype)) {
      tensors.emplace_back(rand(shape, generator).to(input.dtype));
      continue;
    }
    std::vector<int64_t> values(static_cast<size_t>(shape.numel()));
    for (int64_t& value : values) value = static_cast<int64_t>(generator.below(static_cast<uint64_t>(input.values)));
    tensors.emplace_back(NDArray::from_vector(values, shape).to(input.dtype));
  }
  return tensors;
}

}  // namespace thimble::apps
