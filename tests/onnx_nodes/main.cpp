// Runs the ONNX standard's own tests: folders with model.onnx and test_data_set_*/{input,output}_*.pb.
//   onnx_node_tests FOLDER [FILTER]
// A line for each: passes, is refused at import, or fails; then a count of each. Exits with 1 if one fails.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <iostream>
#include <vector>

#include <thimble/core/text.h>
#include <thimble/serialization/onnx/import.h>
#include <thimble/serialization/onnx/model_file.h>
#include <thimble/serialization/onnx/tensor_array.h>

namespace thimble::onnx {

namespace {

namespace fs = std::filesystem;

// The tolerances of the standard's own runner.
constexpr double kRelative = 1e-3, kAbsolute = 1e-7;

std::vector<fs::path> sorted_entries(const fs::path& folder, const std::string& prefix) {
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().filename().string().starts_with(prefix)) found.push_back(entry.path());
  std::ranges::sort(found);
  return found;
}

// Some files hold bfloat16 as the bits, of type uint16.
NDArray read_tensor(const fs::path& path, const ::onnx::ValueInfoProto& declared) {
  std::ifstream file(path, std::ios::binary);
  ::onnx::TensorProto tensor;
  check<IOError>(file && tensor.ParseFromIstream(&file), "cannot read ", path.string());
  if (declared.type().tensor_type().elem_type() == ::onnx::TensorProto::BFLOAT16 &&
      tensor.data_type() == ::onnx::TensorProto::UINT16)
    tensor.set_data_type(::onnx::TensorProto::BFLOAT16);
  return array_of(tensor, path.parent_path());
}

bool is_close(double got, double expected, double relative) {
  if (std::isnan(expected) || std::isinf(expected)) return std::isnan(expected) ? std::isnan(got) : got == expected;
  return std::abs(got - expected) <= kAbsolute + relative * std::abs(expected);
}

// What is wrong with the answer, or nothing.
std::string difference(const NDArray& got, const NDArray& expected, double relative) {
  if (got.dtype() != expected.dtype()) return str(got.dtype(), " instead of ", expected.dtype());
  if (got.shape() != expected.shape()) return str("shape ", got.shape(), " instead of ", expected.shape());
  if (got.dtype() == DType::int64 || got.dtype() == DType::uint64)
    return got.to_vector<int64_t>() == expected.to_vector<int64_t>() ? "" : "other integers";
  const std::vector<double> a = got.to_vector<double>(), b = expected.to_vector<double>();
  for (size_t i = 0; i < a.size(); ++i)
    if (!is_close(a[i], b[i], relative)) return str("element ", i, " is ", a[i], " instead of ", b[i]);
  return "";
}

// Answers of the executor, and those of the graph node by node.
std::string run_data_set(nn::Graph& graph, const ::onnx::GraphProto& model, const fs::path& folder) {
  std::vector<Tensor> inputs;
  for (const nn::Node* node : graph.inputs()) {
    int i = 0;
    while (i < model.input_size() && model.input(i).name() != node->name) ++i;
    inputs.emplace_back(read_tensor(folder / str("input_", i, ".pb"), model.input(i)));
  }
  const std::vector<Tensor> answers = graph.call_outputs(inputs);
  std::vector<Tensor> recorded;
  {
    const NoGrad guard;
    const std::vector<Tensor> all = graph.run_all(inputs);
    const std::vector<nn::Node*> nodes = graph.nodes();
    for (const nn::GraphOutput& output : graph.outputs())
      recorded.push_back(all[static_cast<size_t>(std::ranges::find(nodes, output.node) - nodes.begin())]);
  }
  for (size_t i = 0; i < answers.size(); ++i) {
    const ::onnx::ValueInfoProto& declared = model.output(static_cast<int>(i));
    const NDArray expected = read_tensor(folder / str("output_", i, ".pb"), declared);
    // The files truncate to bfloat16, where the standard rounds.
    const bool is_bfloat16 = declared.type().tensor_type().elem_type() == ::onnx::TensorProto::BFLOAT16;
    const double relative = is_bfloat16 ? 0x1p-7 : kRelative;
    if (const std::string wrong = difference(answers[i].data(), expected, relative); !wrong.empty())
      return str("output ", i, ": ", wrong);
    if (const std::string wrong = difference(recorded[i].data(), expected, relative); !wrong.empty())
      return str("output ", i, ", node by node: ", wrong);
  }
  return "";
}

enum class Outcome { passes, refused, fails };

Outcome run_test(const fs::path& folder, std::string& why) {
  const fs::path file = folder / "model.onnx";
  nn::Graph graph;
  try {
    graph = import_model(file);
  } catch (const Error& e) {
    why = e.what();
    why.erase(0, std::min(why.size(), why.find(": ") + 2));  // the path
    return Outcome::refused;
  }
  try {
    const ::onnx::ModelProto model = read_model(file).proto;
    for (const fs::path& data : sorted_entries(folder, "test_data_set_")) {
      why = run_data_set(graph, model.graph(), data);
      if (!why.empty()) return Outcome::fails;
    }
    return Outcome::passes;
  } catch (const std::exception& e) {
    why = e.what();
    return Outcome::fails;
  }
}

int run_tests(const fs::path& root, const std::string& filter) {
  constexpr const char* kNames[] = {"passes", "refused", "fails"};
  int counts[3] = {};
  for (const fs::path& folder : sorted_entries(root, "test_")) {
    const std::string name = folder.filename().string();
    if (name.find(filter) == std::string::npos) continue;
    std::string why;
    const auto outcome = static_cast<size_t>(run_test(folder, why));
    ++counts[outcome];
    std::cout << kNames[outcome] << ' ' << name << (why.empty() ? "" : ": ") << why << std::endl;
  }
  std::cout << counts[0] << " pass, " << counts[1] << " are refused, " << counts[2] << " fail\n";
  return counts[2] == 0 && counts[0] > 0 ? 0 : 1;
}

}  // namespace

}  // namespace thimble::onnx

int main(int argc, char** argv) {
  if (argc != 2 && argc != 3) {
    std::cerr << "usage: onnx_node_tests FOLDER [FILTER]\n";
    return 2;
  }
  try {
    return thimble::onnx::run_tests(argv[1], argc == 3 ? argv[2] : "");
  } catch (const std::exception& e) {
    std::cerr << e.what() << '\n';
    return 2;
  }
}
