// Datasets over what is in memory already: tensors, and a function of an example's number.
//
//   data::TensorDataset houses({{"features", x}, {"price", y}});
//   data::FunctionDataset waves(1000, [](int64_t i) { return data::Example{{"x", wave(i)}, {"y", pitch(i)}}; });
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/nn/data/dataset.h>

namespace thimble::data {

/// Example i is row i of each tensor.
class THIMBLE_API TensorDataset : public Dataset {
 public:
  /// The tensors' memory is shared, not copied, where it is contiguous. Throws as Batch.
  explicit TensorDataset(Batch::Fields fields);

  int64_t size() const override { return rows_.size(); }
  /// All of it, as it was given.
  const Batch& all() const { return rows_; }

 private:
  Batch make(std::span<const int64_t> indices, const Generator& random) const override;

  Batch rows_;  // contiguous
};

/// One example: its fields by name, none with a dimension for the batch.
using Example = std::vector<std::pair<std::string, NDArray>>;

/// Examples that a function makes. They are put together when a batch is made: all must have the same fields, of the
/// same shapes and dtypes (ShapeError, DTypeError, ValueError that name the example).
class THIMBLE_API FunctionDataset : public Dataset {
 public:
  /// Called from a loader's thread, perhaps from several at a time.
  using Function = std::function<Example(int64_t index)>;
  /// The same where something is drawn at random: anew in each epoch, and the same when a run is resumed.
  using RandomFunction = std::function<Example(int64_t index, Generator& random)>;

  /// Throws ValueError for a negative size or an empty function.
  FunctionDataset(int64_t size, const Function& function);
  FunctionDataset(int64_t size, RandomFunction function);

  int64_t size() const override { return size_; }

 private:
  Batch make(std::span<const int64_t> indices, const Generator& random) const override;

  int64_t size_;
  RandomFunction function_;
};

}  // namespace thimble::data
