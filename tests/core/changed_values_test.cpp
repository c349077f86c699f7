// Values that were changed between forward and backward: an error where the gradient needs them, and nowhere else.
#include <functional>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thimble/core/ops.h>
#include <thimble/core/random.h>
#include <thimble/core/tensor.h>

namespace thimble {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

NDArray random(const Shape& shape) {
  static Generator generator(7);
  return randn(shape, generator);
}

Tensor trainable(const Shape& shape) { return Tensor(random(shape), true); }
Tensor constant(const Shape& shape) { return Tensor(random(shape)); }

void change(const Tensor& tensor) { tensor.set_data(random(tensor.shape())); }

TEST(ChangedValues, AreAnErrorThatNamesOpAndInput) {
  const Tensor w = trainable({2}), v = trainable({2});
  const Tensor y = sum(w * v);
  y.backward({.retain_graph = true});
  change(v);
  EXPECT_THAT([&] { y.backward(); },
              ThrowsMessage<ValueError>(HasSubstr("mul: its gradient needs its input 1 (float32[2])")));
  const Tensor z = exp(w);
  z.mutable_data().fill(1);
  EXPECT_THAT([&] { sum(z).backward(); }, ThrowsMessage<ValueError>(HasSubstr("exp: its gradient needs its output")));
}

TEST(ChangedValues, AreFoundWhicheverWayTheMemoryIsReached) {
  const auto owner = std::make_shared<std::vector<float>>(std::vector<float>{1, 2, 3});
  const std::vector<std::pair<const char*, std::function<void(const Tensor&)>>> ways{
      {"mutable_data", [](const Tensor& w) { w.mutable_data().data<float>()[0] += 1; }},
      {"set_data", [](const Tensor& w) { w.set_data(NDArray::zeros(w.shape())); }},
      {"another handle", [](const Tensor& w) { Tensor(w).mutable_data().data<float>()[0] += 1; }},
      {"detach", [](const Tensor& w) { w.detach().mutable_data().fill(4); }},
      {"a view", [](const Tensor& w) { no_grad([&] { return reshape(w, {3}); }).mutable_data().fill(4); }},
      {"fill of an array", [](const Tensor& w) { NDArray(w.data()).fill(4); }},
      {"copy_from of a part",
       [](const Tensor& w) {
         w.data().slice(2, 0, 1).copy_from(NDArray::full({1, 1, 1}, 4));
       }},
  };
  for (const bool borrowed : {false, true})
    for (const auto& [name, change_it] : ways) {
      SCOPED_TRACE(testing::Message() << name << (borrowed ? ", borrowed" : ""));
      const Tensor x = trainable({1, 1, 5});
      const Tensor w(borrowed ? NDArray::borrow(owner->data(), {1, 1, 3}, DType::float32, owner) : random({1, 1, 3}),
                     true);
      const Tensor direct = sum(w * w), through_a_view = sum(conv1d(x, w));
      const uint64_t before = w.version();
      change_it(w);
      EXPECT_NE(w.version(), before);
      EXPECT_THROW(direct.backward(), ValueError);
      // conv1d keeps a view of its weight alone. A new array leaves it what it was.
      if (name == std::string("set_data"))
        through_a_view.backward();
      else
        EXPECT_THROW(through_a_view.backward(), ValueError);
    }
}

struct ChangedCase {
  const char* name;
  Tensor output;
  std::vector<Tensor> needed, not_needed;
};

// Each time the graph is new: backward frees it.
std::vector<ChangedCase> cases() {
  std::vector<ChangedCase> all;
  const auto add_case = [&](const char* name, const Tensor& y, std::vector<Tensor> needed,
                            std::vector<Tensor> not_needed) {
    all.push_back({name, sum(y), std::move(needed), std::move(not_needed)});
  };
  const Tensor a = trainable({2, 3}), b = trainable({2, 3}),
               positive((rand({2, 3}, default_generator()) + 1.0).data(), true);
  add_case("add", a + b, {}, {a, b});
  add_case("sub", a - b, {}, {a, b});
  add_case("div", a / b, {b}, {a});
  add_case("neg", -a, {}, {a});
  add_case("exp", exp(a), {}, {a});
  add_case("log", log(positive), {positive}, {});
  add_case("sqrt", sqrt(positive), {}, {positive});
  add_case("relu", relu(a), {a}, {});
  add_case("where", where(greater(a, b), a, b), {}, {a, b});
  add_case("mean", mean(a), {}, {a});
  add_case("max", max(a), {a}, {});
  add_case("reshape", reshape(a, {6}), {}, {a});
  add_case("concat", concat({a, b}, 0), {}, {a, b});
  add_case("softmax", softmax(a, 1), {}, {a});
  add_case("dropout", dropout(a, 0.5), {}, {a});

  const Tensor left = trainable({2, 3}), right = trainable({3, 4}), plain = constant({3, 4});
  add_case("matmul", matmul(left, right), {left, right}, {});
  add_case("matmul by a constant", matmul(left, plain), {plain}, {left});

  const Tensor x = trainable({5, 3}), data = constant({5, 3}), weight = trainable({2, 3}), bias = trainable({2});
  add_case("linear", linear(x, weight, bias), {x, weight}, {bias});
  add_case("linear of data", linear(data, weight, bias), {data}, {weight, bias});

  const Tensor image = trainable({1, 2, 6, 6}), pixels = constant({1, 2, 6, 6}), kernel = trainable({4, 2, 3, 3}),
               offset = trainable({4});
  add_case("conv2d", conv2d(image, kernel, offset), {image, kernel}, {offset});
  add_case("conv2d of data", conv2d(pixels, kernel, offset), {pixels}, {kernel, offset});
  add_case("max_pool2d", max_pool2d(image, 2), {}, {image});
  add_case("avg_pool2d", avg_pool2d(image, 2), {}, {image});
  const Tensor gamma = trainable({2}), beta = trainable({2});
  const BatchNormOptions norm{.training = true};
  BatchNormOptions norm_relu = norm;
  norm_relu.relu = true;
  add_case("batch_norm", batch_norm(image, gamma, beta, {}, {}, norm), {image, gamma}, {beta});
  add_case("batch_norm with relu", batch_norm(image, gamma, beta, {}, {}, norm_relu), {image, gamma, beta}, {});

  const Tensor table = trainable({7, 2}), rows = NDArray::from_vector<int64_t>({1, 5, 1});
  add_case("embedding", embedding(rows, table), {}, {table});
  const Tensor words = trainable({7, 2});
  add_case("embedding_bag", embedding_bag(reshape(rows, {1, 3}), words), {}, {words});
  const Tensor logits = trainable({3, 4}), classes = NDArray::from_vector<int64_t>({1, 3, 0});
  add_case("cross_entropy", cross_entropy(logits, classes), {logits}, {classes});
  return all;
}

// What a gradient does not read may change, as in PyTorch: or else no optimizer could step before all is done.
TEST(ChangedValues, AreNoErrorWhereTheGradientDoesNotReadThem) {
  const size_t count = cases().size();
  for (size_t i = 0; i < count; ++i) {
    const size_t needed = cases()[i].needed.size(), not_needed = cases()[i].not_needed.size();
    for (size_t j = 0; j < needed; ++j) {
      const ChangedCase c = cases()[i];
      change(c.needed[j]);
      EXPECT_THROW(c.output.backward(), ValueError) << c.name << ", " << j;
    }
    for (size_t j = 0; j < not_needed; ++j) {
      const ChangedCase c = cases()[i];
      const Tensor& input = c.not_needed[j];
      c.output.backward({.retain_graph = true});
      const NDArray expected = input.requires_grad() ? input.grad().data().clone() : NDArray();
      input.set_grad({});
      input.mutable_data().copy_from(NDArray::full(input.shape(), 0, input.dtype()));
      EXPECT_NO_THROW(c.output.backward()) << c.name << ", " << j;
      if (expected.defined()) {
        EXPECT_EQ(input.grad().data().to_vector<float>(), expected.to_vector<float>()) << c.name << ", " << j;
      }
    }
  }
}

TEST(ChangedValues, OfTheSecondDerivativeToo) {
  const Tensor w = trainable({});
  const Tensor first = grad(w * w * w, {w}, {}, {.create_graph = true})[0];
  change(w);
  EXPECT_THROW(first.backward(), ValueError);
}

TEST(ChangedValues, OfATargetDoNotReachTheGradient) {
  const Tensor logits = trainable({3, 4}), classes = NDArray::from_vector<int64_t>({1, 3, 0});
  for (const bool create_graph : {false, true})
    for (const Tensor& loss : {cross_entropy(logits, classes), nll_loss(logits, classes)}) {
      const auto gradient = [&] {
        return grad(loss, {logits}, {}, {.retain_graph = true, .create_graph = create_graph})[0].data();
      };
      const auto expected = gradient().to_vector<float>();
      const NDArray before = classes.data().clone();
      classes.mutable_data().fill(2);
      EXPECT_EQ(gradient().to_vector<float>(), expected);
      classes.mutable_data().copy_from(before);
    }
}

TEST(ChangedValues, DoNotMatterToWhatIsComputedAfterwards) {
  const Tensor w = trainable({3});
  for (int i = 0; i < 3; ++i) {
    const Tensor first = sum(w * w), second = sum(exp(w));
    first.backward();
    second.backward();
    w.mutable_data().fill(i);
    w.set_grad({});
  }
  sum(w * w).backward();
  EXPECT_EQ(w.grad().data().to_vector<float>(), (std::vector<float>{4, 4, 4}));
}

}  // namespace
}  // namespace thimble
