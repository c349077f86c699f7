// Training gives the same bits with any number of threads.
#include <cstdlib>

#include <gtest/gtest.h>

#include "bench/reference_models.h"

namespace thimble {
namespace {

// THIMBLE_TRAINING_STEPS=200 is for long runs.
int64_t steps() {
  const char* wanted = std::getenv("THIMBLE_TRAINING_STEPS");
  return wanted ? std::atoll(wanted) : 2;
}

std::vector<NDArray> trained_state(const bench::Reference& reference, int64_t batch_size, int threads,
                                   DType precision) {
  set_num_threads(threads);
  const auto model = bench::make(reference);
  optim::Adam adam(model->parameters(), {.lr = 1e-3});
  const Tensor x = bench::images(reference, batch_size);
  NDArray labels({batch_size}, DType::int64);
  for (int64_t i = 0; i < batch_size; ++i) labels.data<int64_t>()[i] = i % 10;
  for (int64_t step = 0; step < steps(); ++step) {
    const Autocast guard(precision);
    adam.zero_grad();
    cross_entropy((*model)(x), Tensor(labels)).backward();
    adam.step();
  }
  std::vector<NDArray> state;
  for (const auto& [path, tensor] : model->state()) state.push_back(tensor.data());
  return state;
}

TEST(Training, ReferenceModelsEndWithTheSameBitsForAnyNumberOfThreads) {
  const int before = num_threads();
  for (const bench::Reference& reference : bench::kReferences)
    for (const int64_t batch_size : {reference.training_batch, int64_t{37}})
      for (const DType precision : {DType::float32, DType::bfloat16}) {
        SCOPED_TRACE(str(reference.name, ", batches of ", batch_size, ", ", precision));
        const std::vector<NDArray> expected = trained_state(reference, batch_size, 1, precision);
        for (const int threads : {2, 3, 5}) {
          const std::vector<NDArray> state = trained_state(reference, batch_size, threads, precision);
          ASSERT_EQ(state.size(), expected.size());
          for (size_t i = 0; i < state.size(); ++i)
            EXPECT_EQ(state[i].to_vector<float>(), expected[i].to_vector<float>())
                << threads << " threads, tensor " << i;
        }
      }
  set_num_threads(before);
}

}  // namespace
}  // namespace thimble
