#include <gtest/gtest.h>

#include <thimble/nn/graph/passes.h>
#include <thimble/nn/graph/sample.h>
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/embedding.h>
#include <thimble/nn/layers/linear.h>

namespace thimble::nn {
namespace {

TEST(Sample, TracedInputsRememberTheirExample) {
  Sequential images(Linear(4, 2));
  const Graph graph = trace(images, Tensor(NDArray::ones({3, 7, 4})));
  const Graph copies[] = {graph.clone(), eliminate_dead_nodes(graph), fold_constants(graph)};
  for (const Graph& copy : copies) {
    const auto sample = sample_of(*copy.inputs().at(0));
    ASSERT_TRUE(sample.has_value());
    EXPECT_EQ(sample->dtype, DType::float32);
    EXPECT_EQ(sample->shape, (Shape{7, 4}));
  }
  Sequential words(Embedding(5, 2));
  const Graph of_words = trace(words, Tensor(NDArray::zeros({3}, DType::int64)));
  EXPECT_EQ(sample_of(*of_words.inputs().at(0))->dtype, DType::int64);
  EXPECT_EQ(sample_of(*of_words.inputs().at(0))->shape, Shape());
}

TEST(Sample, OthersRememberNone) {
  Graph graph;
  EXPECT_FALSE(sample_of(*graph.add_input("x")).has_value());
  EXPECT_TRUE(sample_attributes(Tensor(NDArray::full({}, 1))).empty());
}

TEST(Sample, AttributesOfStrangersAreErrors) {
  const std::vector<int64_t> sizes{2, 3}, many(8, 1);
  for (const Attributes& wrong : std::vector<Attributes>{{{"sample_shape", sizes}},
                                                         {{"sample_shape", sizes}, {"dtype", std::string("complex")}},
                                                         {{"sample_shape", sizes}, {"dtype", int64_t{1}}},
                                                         {{"sample_shape", 2.5}, {"dtype", std::string("float32")}},
                                                         {{"sample_shape", many}, {"dtype", std::string("float32")}}}) {
    Node node;
    node.attributes = wrong;
    EXPECT_THROW(sample_of(node), FormatError) << wrong;
  }
}

}  // namespace
}  // namespace thimble::nn
