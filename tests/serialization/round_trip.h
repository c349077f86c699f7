// What tests of checkpoints share.
#pragma once

#include <algorithm>
#include <string>

#include <gtest/gtest.h>

#include "tests/serialization/files.h"
#include <thimble/core/random.h>
#include <thimble/nn/graph/graph.h>
#include <thimble/serialization/checkpoint.h>

namespace thimble {

inline NDArray random_input(const Shape& shape, uint64_t seed = 3) {
  Generator generator(seed);
  return randn(shape, generator);
}

/// Saves models into a folder of its own.
class CheckpointTest : public testing::Test {
 protected:
  // Saves and loads; both must compute the same bits.
  nn::Graph expect_round_trip(nn::Graph& graph, const Tensor& x) {
    graph.eval();
    save_model(graph, file);
    EXPECT_EQ(saved_size(graph), static_cast<int64_t>(std::filesystem::file_size(file)));
    nn::Graph loaded = load_model(file);
    EXPECT_EQ(loaded.table(), graph.table());
    EXPECT_FALSE(loaded.training());
    EXPECT_EQ(loaded(x).data().to_vector<float>(), graph(x).data().to_vector<float>());
    const auto before = graph.state(), after = loaded.state();
    EXPECT_EQ(after.size(), before.size());
    for (const auto& [name, tensor] : before) {
      const auto twin = std::ranges::find_if(after, [&, &wanted = name](const auto& t) { return t.first == wanted; });
      if (twin == after.end()) {
        ADD_FAILURE() << name << " is gone";
        continue;
      }
      EXPECT_EQ(twin->second.data().to_vector<double>(), tensor.data().to_vector<double>()) << name;
      EXPECT_EQ(twin->second.dtype(), tensor.dtype()) << name;
      EXPECT_EQ(twin->second.requires_grad(), tensor.requires_grad()) << name;
    }
    const std::string bytes = read_bytes(file);
    save_model(loaded, file);
    EXPECT_TRUE(read_bytes(file) == bytes) << "saved again, the file differs";
    return loaded;
  }

  TempFolder folder;
  std::filesystem::path file = folder / "model.safetensors";
};

}  // namespace thimble
