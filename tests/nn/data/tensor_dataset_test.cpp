#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thimble/nn/data/combine.h>
#include <thimble/nn/data/tensor_dataset.h>

namespace thimble::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

std::vector<int64_t> numbers_of(const Batch& batch, const char* field = "number") {
  return batch[field].data().to_vector<int64_t>();
}

std::vector<int64_t> all_of(const Dataset& dataset) {
  std::vector<int64_t> indices(static_cast<size_t>(dataset.size()));
  for (size_t i = 0; i < indices.size(); ++i) indices[i] = static_cast<int64_t>(i);
  return numbers_of(dataset.batch(indices));
}

// first, first + 1, ... with twice the number as a float row.
std::shared_ptr<const TensorDataset> counting(int64_t n, int64_t first = 0) {
  NDArray numbers({n}, DType::int64), rows({n, 2});
  for (int64_t i = 0; i < n; ++i) {
    numbers.data<int64_t>()[i] = first + i;
    rows.data<float>()[2 * i] = rows.data<float>()[2 * i + 1] = static_cast<float>(2 * (first + i));
  }
  return std::make_shared<TensorDataset>(Batch::Fields{{"row", rows}, {"number", numbers}});
}

TEST(Batch, HasItsFieldsByName) {
  const Batch batch({{"a", NDArray::zeros({3, 2})}, {"b", NDArray::zeros({3}, DType::int64)}});
  EXPECT_EQ(batch.size(), 3);
  EXPECT_EQ(batch["b"].dtype(), DType::int64);
  EXPECT_TRUE(batch.contains("a"));
  EXPECT_FALSE(batch.contains("c"));
  EXPECT_THAT([&] { batch["c"]; }, ThrowsMessage<ValueError>(HasSubstr("no field 'c', it has 'a', 'b'")));
  const auto& [a, b] = batch;
  EXPECT_EQ(a.shape(), (Shape{3, 2}));
  EXPECT_EQ(b.shape(), (Shape{3}));
  Batch changed = batch;
  changed.set("a", NDArray::zeros({3}));
  changed.set("c", NDArray::zeros({3, 1}));
  EXPECT_EQ(changed["a"].shape(), (Shape{3}));
  EXPECT_EQ(changed.fields()[2].first, "c");
  EXPECT_THROW(changed.set("a", NDArray::zeros({2})), ShapeError);
  EXPECT_EQ(batch["a"].shape(), (Shape{3, 2}));
  const Tensor of_temporary = Batch({{"a", NDArray::zeros({1})}})["a"];
  EXPECT_EQ(of_temporary.shape(), (Shape{1}));
  EXPECT_EQ(Batch().size(), 0);
  EXPECT_THROW(Batch()["a"], ValueError);
}

TEST(Batch, RefusesWhatDoesNotFitTogether) {
  EXPECT_THROW(Batch(Batch::Fields{}), ValueError);
  EXPECT_THAT(
      [] {
        Batch({{"a", NDArray::zeros({3})}, {"a", NDArray::zeros({3})}});
      },
      ThrowsMessage<ValueError>(HasSubstr("two fields are called 'a'")));
  EXPECT_THAT(
      [] {
        Batch({{"a", NDArray::zeros({3})}, {"b", NDArray::zeros({4})}});
      },
      ThrowsMessage<ShapeError>(HasSubstr("field 'b' has shape [4], expected 3 examples")));
  EXPECT_THROW(Batch({{"a", NDArray::zeros({})}}), ShapeError);
  const Batch three({{"a", NDArray::zeros({1})}, {"b", NDArray::zeros({1})}, {"c", NDArray::zeros({1})}});
  EXPECT_THAT([&] { three.get<0>(); }, ThrowsMessage<ValueError>(HasSubstr("it has 'a', 'b', 'c'")));
}

TEST(TensorDataset, GivesRowsOfEachTensor) {
  const NDArray strided = NDArray::arange(12).reshape({3, 4}).transpose(0, 1);
  const TensorDataset data({{"x", strided}, {"y", NDArray::from_vector<int64_t>({5, 6, 7, 8})}});
  EXPECT_EQ(data.size(), 4);
  const Batch batch = data.batch(std::vector<int64_t>{3, 0, 3});
  EXPECT_THAT(batch["x"].data().to_vector<float>(), ElementsAre(3, 7, 11, 0, 4, 8, 3, 7, 11));
  EXPECT_THAT(numbers_of(batch, "y"), ElementsAre(8, 5, 8));
  EXPECT_EQ(data.example().shape(), (Shape{1, 3}));
  EXPECT_EQ(data.batch({}).size(), 0);
  EXPECT_THROW(data.batch(std::vector<int64_t>{4}), ValueError);
  const TensorDataset empty({{"x", NDArray::zeros({0, 3})}, {"nothing", NDArray::zeros({0, 0})}});
  EXPECT_EQ(empty.size(), 0);
  EXPECT_EQ(empty.batch({})["x"].shape(), (Shape{0, 3}));
  EXPECT_THROW(empty.example(), ValueError);
}

TEST(FunctionDataset, PutsExamplesTogether) {
  const FunctionDataset data(10, [](int64_t i) {
    return Example{{"x", NDArray::full({2, 1}, static_cast<double>(i))},
                   {"number", NDArray::full({}, static_cast<double>(i), DType::int64)}};
  });
  const Batch batch = data.batch(std::vector<int64_t>{7, 2});
  EXPECT_EQ(batch["x"].shape(), (Shape{2, 2, 1}));
  EXPECT_THAT(batch["x"].data().to_vector<float>(), ElementsAre(7, 7, 2, 2));
  EXPECT_THAT(numbers_of(batch), ElementsAre(7, 2));
  EXPECT_THROW(data.batch({}), ValueError);
  EXPECT_THROW(FunctionDataset(-1, [](int64_t) { return Example(); }), ValueError);
  EXPECT_THROW(FunctionDataset(1, FunctionDataset::Function()), ValueError);
}

TEST(FunctionDataset, NamesTheExampleThatIsUnlikeOthers) {
  const auto message = [](FunctionDataset::Function function) {
    try {
      FunctionDataset(3, function).batch(std::vector<int64_t>{0, 2});
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_THAT(message([](int64_t i) {
                return Example{{"x", NDArray::zeros({i})}};
              }),
              HasSubstr("'x' of example 2 has shape [2], that of others [0]"));
  EXPECT_THAT(message([](int64_t i) {
                return Example{{"x", NDArray::zeros({}, i ? DType::int64 : DType::float32)}};
              }),
              HasSubstr("'x' of example 2 is int64, that of others float32"));
  EXPECT_THAT(message([](int64_t i) {
                return Example{{i ? "x" : "y", NDArray::zeros({})}};
              }),
              HasSubstr("field 0 of example 2 is 'x', that of others 'y'"));
  EXPECT_THAT(message([](int64_t i) {
                return i ? Example() : Example{{"x", NDArray::zeros({})}};
              }),
              HasSubstr("example 2 has 0 fields, others have 1"));
}

TEST(Subset, HasTheExamplesOfItsNumbers) {
  const Subset part(counting(10), {4, 4, 9, 0});
  EXPECT_THAT(all_of(part), ElementsAre(4, 4, 9, 0));
  EXPECT_THAT(numbers_of(part.batch(std::vector<int64_t>{2, 0})), ElementsAre(9, 4));
  EXPECT_THROW(Subset(counting(10), {10}), ValueError);
  EXPECT_THROW(Subset(nullptr, {}), ValueError);
  EXPECT_THROW(Subset(counting(10), {-1}), ValueError);
}

TEST(ConcatDataset, IsOneAfterTheOther) {
  const ConcatDataset all({counting(3), counting(0), counting(2, 100), counting(1, 7)});
  EXPECT_EQ(all.size(), 6);
  EXPECT_THAT(all_of(all), ElementsAre(0, 1, 2, 100, 101, 7));
  const Batch batch = all.batch(std::vector<int64_t>{5, 4, 3, 0, 4});
  EXPECT_THAT(numbers_of(batch), ElementsAre(7, 101, 100, 0, 101));
  EXPECT_THAT(batch["row"].data().to_vector<float>(), ElementsAre(14, 14, 202, 202, 200, 200, 0, 0, 202, 202));
  EXPECT_EQ(all.batch({})["row"].shape(), (Shape{0, 2}));
  EXPECT_THROW(ConcatDataset({}), ValueError);
  const auto others = std::make_shared<TensorDataset>(Batch::Fields{{"other", NDArray::zeros({2})}});
  EXPECT_THAT(
      [&] {
        ConcatDataset({counting(1), others});
      },
      ThrowsMessage<ValueError>(HasSubstr("fields of dataset 1")));
  const auto turned = std::make_shared<TensorDataset>(
      Batch::Fields{{"number", NDArray::zeros({2}, DType::int64)}, {"row", NDArray::zeros({2, 2})}});
  EXPECT_THROW(ConcatDataset({counting(0), counting(1), turned}), ValueError);
  EXPECT_THROW(ConcatDataset({counting(1), nullptr}), ValueError);
}

TEST(RandomSplit, DividesAllExamples) {
  for (const int64_t n : {0, 1, 10, 101}) {
    auto [train, dev, rest] = random_split(counting(n), {0.7, 0.2, 0.1}, 3);
    std::vector<int64_t> all = train->indices();
    all.insert(all.end(), dev->indices().begin(), dev->indices().end());
    all.insert(all.end(), rest->indices().begin(), rest->indices().end());
    EXPECT_EQ(std::set<int64_t>(all.begin(), all.end()).size(), static_cast<size_t>(n));
    EXPECT_EQ(std::ssize(all), n);
    EXPECT_NEAR(static_cast<double>(dev->size()), 0.2 * static_cast<double>(n), 1);
  }
  const std::shared_ptr<const Dataset> ten = counting(10);
  const auto [seven, three] = random_split(ten, {7, 3}, 1);
  EXPECT_EQ(three->size(), 3);
  const std::vector<int64_t> sizes{7, 3};
  EXPECT_EQ(random_split(ten, sizes, 1)[0]->indices(), seven->indices());
  const auto parts = random_split(ten, sizes, 1), again = random_split(ten, sizes, 1),
             other = random_split(ten, sizes, 2);
  EXPECT_EQ(parts[0]->size(), 7);
  EXPECT_EQ(parts[1]->indices(), again[1]->indices());
  EXPECT_NE(parts[0]->indices(), other[0]->indices());
  EXPECT_THROW(random_split(ten, std::vector<int64_t>{7, 4}), ValueError);
  EXPECT_THROW(random_split(ten, std::vector<int64_t>{7, 2}), ValueError);
  EXPECT_THROW(random_split(ten, std::vector<int64_t>{-1, 11}), ValueError);
  EXPECT_THROW(random_split(ten, {0.5, 0.4}), ValueError);
  EXPECT_THROW(random_split(ten, {1.5, -0.5}), ValueError);
}

}  // namespace
}  // namespace thimble::data
