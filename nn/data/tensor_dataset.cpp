#include <thimble/core/ops/indexing.h>
#include <thimble/core/text.h>
#include <thimble/nn/data/stack_examples.h>
#include <thimble/nn/data/tensor_dataset.h>

namespace thimble::data {

namespace {

Batch::Fields contiguous(const Batch::Fields& fields) {
  Batch::Fields rows;
  for (const auto& [name, tensor] : fields)
    rows.emplace_back(name, tensor.ndim() > 0 ? Tensor(tensor.data().contiguous()) : tensor);
  return rows;
}

void check_names(const Example& example, const Example& first, int64_t index) {
  check<ValueError>(example.size() == first.size(), "dataset: example ", index, " has ", example.size(),
                    " fields, others have ", first.size());
  for (size_t f = 0; f < first.size(); ++f)
    check<ValueError>(example[f].first == first[f].first, "dataset: field ", f, " of example ", index, " is ",
                      detail::quote(example[f].first), ", that of others ", detail::quote(first[f].first));
}

}  // namespace

TensorDataset::TensorDataset(Batch::Fields fields) : rows_(contiguous(fields)) {}

Batch TensorDataset::make(std::span<const int64_t> indices, const Generator&) const {
  const NoGrad guard;
  const Tensor index(NDArray::from_vector<int64_t>({indices.begin(), indices.end()}));
  Batch::Fields fields;
  for (const auto& [name, tensor] : rows_.fields()) fields.emplace_back(name, index_select(tensor, 0, index));
  return Batch(std::move(fields));
}

FunctionDataset::FunctionDataset(int64_t size, const Function& function)
    : FunctionDataset(
          size, function ? [function](int64_t index, Generator&) { return function(index); } : RandomFunction()) {}

FunctionDataset::FunctionDataset(int64_t size, RandomFunction function) : size_(size), function_(std::move(function)) {
  check<ValueError>(size >= 0, "dataset: of ", size, " examples");
  check<ValueError>(function_ != nullptr, "dataset: its function is empty");
}

Batch FunctionDataset::make(std::span<const int64_t> indices, const Generator& random) const {
  check<ValueError>(!indices.empty(), "dataset: a batch of no examples has no shapes");
  std::vector<Example> examples;
  for (const int64_t index : indices) {
    Generator own = random.split(static_cast<uint64_t>(index));
    examples.push_back(function_(index, own));
    check_names(examples.back(), examples.front(), index);
  }
  Batch::Fields fields;
  for (size_t f = 0; f < examples[0].size(); ++f) {
    std::vector<NDArray> arrays;
    for (const Example& example : examples) arrays.push_back(example[f].second);
    fields.emplace_back(examples[0][f].first, stack_examples(arrays, indices, examples[0][f].first));
  }
  return Batch(std::move(fields));
}

}  // namespace thimble::data
