// Dataset: examples by number.
//
//   class Squares : public data::Dataset {
//     int64_t size() const override { return 100; }
//     data::Batch make(std::span<const int64_t> indices, const Generator&) const override {
//       Tensor x(NDArray::from_vector<int64_t>({indices.begin(), indices.end()}));
//       return data::Batch({{"x", x}, {"y", x * x}});
//     }
//   };
#pragma once

#include <span>

#include <thimble/core/api.h>
#include <thimble/core/random.h>
#include <thimble/core/tensor.h>
#include <thimble/nn/data/batch.h>

namespace thimble::data {

/// Base: a fixed number of examples, each of the same named fields. Which there are: nn/data/tensor_dataset.h (arrays,
/// functions), nn/data/combine.h (parts and sums of others), nn/data/mnist.h.
class THIMBLE_API Dataset {
 public:
  virtual ~Dataset() = default;

  /// Number of examples.
  virtual int64_t size() const = 0;

  /// The examples of these numbers, in this order. What is random in them is drawn from `random`, and of each example
  /// the same whatever others are in its batch. Safe to call from several threads. Throws ValueError for a number out
  /// of range.
  Batch batch(std::span<const int64_t> indices, const Generator& random = Generator()) const;

  /// The first example's first field, [1, shape...], for tracing a model. Throws ValueError if there are no examples.
  Tensor example() const;

 private:
  /// Indices have been checked. Runs in a loader's thread, beside training: it should not use parallel_for.
  virtual Batch make(std::span<const int64_t> indices, const Generator& random) const = 0;
};

}  // namespace thimble::data
