#include <cmath>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thimble/core/gradcheck.h>
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/reduce.h>
#include <thimble/core/random.h>
#include <thimble/core/tensor.h>

namespace thimble {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

using Values = std::vector<double>;

Tensor leaf(const Values& values) { return Tensor(NDArray::from_vector(values), true); }
Tensor leaf(double value) { return Tensor(NDArray::full({}, value, DType::float64), true); }
Values grad_of(const Tensor& x) { return x.grad().data().to_vector<double>(); }

/// 2, in the leaf's dtype.
const Tensor kTwo = Tensor::scalar(2, DType::float64);

TEST(Tensors, AreHandlesToOneNode) {
  Tensor a = leaf(1);
  Tensor b = a;
  EXPECT_EQ(a.id(), b.id());
  b.mutable_data().fill(3);
  EXPECT_EQ(a.item<double>(), 3);
  (b * b).backward();
  EXPECT_EQ(grad_of(a), Values{6});
  EXPECT_NE(a.detach().id(), a.id());
}

TEST(Tensors, KnowTheirOpAndInputsOnlyInsideAGraph) {
  const Tensor a = leaf(1), constant = kTwo;
  const Tensor y = a * constant;
  EXPECT_FALSE(y.is_leaf());
  ASSERT_NE(y.op(), nullptr);
  EXPECT_EQ(y.op()->name(), "mul");
  EXPECT_EQ(y.inputs()[0].id(), a.id());
  const Tensor plain = constant * constant;
  EXPECT_TRUE(plain.is_leaf());
  EXPECT_EQ(plain.op(), nullptr);
  EXPECT_FALSE(plain.requires_grad());
  EXPECT_TRUE(plain.inputs().empty());
}

TEST(Tensors, RefuseWhatCannotBe) {
  const Tensor undefined;
  EXPECT_FALSE(undefined.defined());
  EXPECT_EQ(str(undefined), "undefined");
  EXPECT_THAT([&] { undefined.shape(); }, ThrowsMessage<ValueError>("tensor: used before it was given a value"));
  EXPECT_THROW(Tensor{NDArray{}}, ValueError);
  EXPECT_THAT([] { Tensor(NDArray::zeros({2}, DType::int8), true); },
              ThrowsMessage<DTypeError>("requires_grad: int8 is not differentiable"));
  Tensor x = leaf(1);
  EXPECT_THROW(x.set_data(NDArray::zeros({2}, DType::float64)), ShapeError);
  EXPECT_THROW(x.set_data(NDArray::zeros({}, DType::float32)), DTypeError);
  EXPECT_THROW(x.set_grad(NDArray::zeros({2}, DType::float64)), ShapeError);
  Tensor y = x * x;
  EXPECT_THROW(y.set_requires_grad(false), ValueError);
}

TEST(Backward, AccumulatesOverPasses) {
  Tensor x = leaf(3);
  EXPECT_FALSE(x.grad().defined());
  (x * x).backward();
  EXPECT_EQ(grad_of(x), Values{6});
  (x * kTwo).backward();
  EXPECT_EQ(grad_of(x), Values{8});
  x.set_grad({});
  (x * x).backward();
  EXPECT_EQ(grad_of(x), Values{6});
}

TEST(Backward, AccumulatingLeavesAnEarlierGradientAlone) {
  Tensor x = leaf(3);
  (x * x).backward();
  const Tensor first = x.grad();
  (x * x).backward();
  EXPECT_EQ(first.item<double>(), 6);
  EXPECT_EQ(grad_of(x), Values{12});
}

TEST(Backward, AddsToAGradientOfItsOwnWhereItLies) {
  const Tensor x = leaf(Values{1, 2});
  sum(x * kTwo).backward();
  const void* memory = x.grad().data().raw();
  sum(x * x).backward();
  EXPECT_EQ(x.grad().data().raw(), memory);
  EXPECT_EQ(grad_of(x), (Values{4, 6}));
}

TEST(Backward, LeavesAGradientAloneThatOthersHold) {
  const Tensor x = leaf(Values{1, 2});
  sum(x * kTwo).backward();
  const NDArray array = x.grad().data();
  sum(x * kTwo).backward();
  EXPECT_EQ(array.to_vector<double>(), (Values{2, 2}));
  const Tensor tensor = x.grad();
  sum(x * kTwo).backward();
  EXPECT_EQ(tensor.data().to_vector<double>(), (Values{4, 4}));
  EXPECT_EQ(grad_of(x), (Values{6, 6}));
}

TEST(Backward, LeavesMemoryAloneThatItDidNotMake) {
  Values lent{1, 2};
  const auto borrowed = [&] {
    return Tensor(NDArray::borrow(lent.data(), {2}, DType::float64, std::make_shared<int>()));
  };
  const Tensor x = leaf(Values{1, 2});
  x.set_grad(borrowed());
  sum(x * kTwo).backward();
  EXPECT_EQ(lent, (Values{1, 2}));
  EXPECT_EQ(grad_of(x), (Values{3, 4}));
  // The given gradient reaches h as it is, and more of it later, when nobody else needs it any more.
  for (const bool first : {true, false}) {
    const Tensor h = x * kTwo, other = h * kTwo * kTwo;
    (first ? (h + kTwo) + other : other + (h + kTwo)).backward(borrowed());
    EXPECT_EQ(lent, (Values{1, 2}));
  }
  EXPECT_EQ(grad_of(x), (Values{3 + 2 * 2 * 5, 4 + 2 * 2 * 2 * 5}));
}

TEST(Backward, ThroughWhatReadAGradientSeesItsValuesOfThen) {
  const Tensor x = leaf(Values{1, 2}), y = leaf(Values{3, 4});
  sum(x * kTwo).backward();
  const Tensor product = sum(y * x.grad());
  sum(x * kTwo).backward();
  product.backward();
  EXPECT_EQ(grad_of(y), (Values{2, 2}));
}

TEST(Backward, AddsUpOverEveryPathOfADiamond) {
  Tensor x = leaf(2);
  Tensor a = x * x, b = a + x, c = a * b;  // c = x^4 + x^3
  c.backward();
  EXPECT_EQ(grad_of(x), Values{4 * 8 + 3 * 4});
}

TEST(Backward, VisitsEachNodeOfManyDiamondsOnce) {
  // 2^60 paths from end to start.
  Tensor x = leaf(1), y = x;
  for (int i = 0; i < 60; ++i) y = y + y;
  y.backward();
  EXPECT_EQ(grad_of(x), Values{std::ldexp(1.0, 60)});
}

TEST(Backward, SkipsWhatRequiresNoGradient) {
  Tensor x = leaf(2), frozen = leaf(5), constant(NDArray::full({}, 7, DType::float64));
  frozen.set_requires_grad(false);
  (x * frozen * constant).backward();
  EXPECT_EQ(grad_of(x), Values{35});
  EXPECT_FALSE(frozen.grad().defined());
  EXPECT_FALSE(constant.grad().defined());
}

TEST(Backward, StartsFromTheGivenGradient) {
  Tensor x = leaf({1, 2, 3});
  (x * x).backward(NDArray::from_vector<double>({1, 10, 100}));
  EXPECT_EQ(grad_of(x), (Values{2, 40, 600}));
}

TEST(Backward, OfALeafIsTheGivenGradient) {
  Tensor x = leaf(2);
  x.backward();
  EXPECT_EQ(grad_of(x), Values{1});
}

TEST(Backward, NeedsAGradientForMoreThanOneElement) {
  Tensor x = leaf({1, 2});
  EXPECT_THAT([&] { (x * x).backward(); }, ThrowsMessage<ShapeError>(HasSubstr("shape [2] needs an out_grad")));
  EXPECT_THAT([&] { (x * x).backward(NDArray::ones({3}, DType::float64)); },
              ThrowsMessage<ShapeError>("backward: out_grad of shape [3] does not fit [2]"));
  EXPECT_THROW(kTwo.backward(), ValueError);
  EXPECT_THROW(Tensor().backward(), ValueError);
  Tensor one = leaf(Values{4});
  (one * one).backward();  // one element is enough, whatever its shape
  EXPECT_EQ(grad_of(one), Values{8});
}

TEST(Backward, FreesTheGraphUnlessToldOtherwise) {
  Tensor x = leaf(3);
  Tensor y = x * x;
  y.backward({.retain_graph = true});
  y.backward();
  EXPECT_EQ(grad_of(x), Values{12});
  EXPECT_FALSE(y.is_leaf());
  EXPECT_TRUE(y.inputs().empty());
  EXPECT_THAT([&] { y.backward(); }, ThrowsMessage<ValueError>(HasSubstr("the graph was freed")));
  EXPECT_EQ(grad_of(x), Values{12});
}

TEST(Backward, ThroughAGraphWhoseInnerPartWasFreedThrowsBeforeItChangesAnything) {
  Tensor x = leaf(3), w = leaf(1);
  Tensor shared = x * x;
  Tensor first = shared * kTwo, second = shared * w;
  first.backward();
  EXPECT_THROW(second.backward(), ValueError);
  EXPECT_FALSE(w.grad().defined());
  EXPECT_EQ(grad_of(x), Values{12});
}

TEST(Backward, AfterwardsInputsOfTheGraphAreReleased) {
  Tensor x = leaf(3), y;
  std::weak_ptr<int> watch;
  {
    const auto owner = std::make_shared<int>();
    watch = owner;
    static double memory = 5;
    const Tensor constant(NDArray::borrow(&memory, {}, DType::float64, owner));
    y = x * constant;
  }
  EXPECT_FALSE(watch.expired());
  y.backward();
  EXPECT_TRUE(watch.expired());
}

TEST(Backward, CreateGraphMakesGradientsThatCanBeDifferentiated) {
  const Tensor x = leaf(2);
  const Tensor y = x * x * x * x;
  const Tensor first = grad(y, {x}, {}, {.create_graph = true})[0];
  EXPECT_EQ(first.item<double>(), 4 * 8);
  const Tensor second = grad(first, {x}, {}, {.create_graph = true})[0];
  EXPECT_EQ(second.item<double>(), 12 * 4);
  const Tensor third = grad(second, {x}, {}, {.create_graph = true})[0];
  EXPECT_EQ(third.item<double>(), 24 * 2);
  EXPECT_EQ(grad(third, {x})[0].item<double>(), 24);
}

TEST(Backward, CreateGraphIntoGradThenBackwardThroughIt) {
  Tensor x = leaf(3);
  (x * x * x).backward({.create_graph = true});
  const Tensor first = x.grad();
  EXPECT_TRUE(first.requires_grad());
  x.set_grad({});
  first.backward();
  EXPECT_EQ(grad_of(x), Values{18});
}

TEST(Backward, WithoutCreateGraphGradientsAreOutsideOfAnyGraph) {
  Tensor x = leaf(3);
  Tensor y = x * x;
  y.backward({.retain_graph = true});
  EXPECT_FALSE(x.grad().requires_grad());
  EXPECT_FALSE(grad(y, {x})[0].requires_grad());
  EXPECT_TRUE(grad_enabled());
}

TEST(Grad, LeavesGradAloneAndTakesInnerTensors) {
  Tensor x = leaf(3);
  Tensor inner = x * x, y = inner * inner;
  const auto gradients = grad(y, {inner, x, y});
  EXPECT_EQ(gradients[0].item<double>(), 18);
  EXPECT_EQ(gradients[1].item<double>(), 4 * 27);
  EXPECT_EQ(gradients[2].item<double>(), 1);
  EXPECT_FALSE(x.grad().defined());
}

TEST(Grad, OfWhatTheOutputDoesNotDependOnIsUndefined) {
  Tensor x = leaf(3), other = leaf(4);
  const auto gradients = grad(x * x, {other, x, x});
  EXPECT_FALSE(gradients[0].defined());
  EXPECT_EQ(gradients[1].item<double>(), 6);
  EXPECT_EQ(gradients[2].item<double>(), 6);
}

TEST(Grad, WeighsByTheGivenGradient) {
  Tensor x = leaf({1, 2});
  const auto gradients = grad(x * x, {x}, NDArray::from_vector<double>({3, 5}));
  EXPECT_EQ(gradients[0].data().to_vector<double>(), (Values{6, 20}));
}

TEST(Recording, StopsInsideNoGrad) {
  Tensor x = leaf(3), y;
  {
    NoGrad guard;
    EXPECT_FALSE(grad_enabled());
    y = x * x;
    { NoGrad inner; }
    EXPECT_FALSE(grad_enabled());
  }
  EXPECT_TRUE(grad_enabled());
  EXPECT_FALSE(y.requires_grad());
  EXPECT_TRUE(y.is_leaf());
  EXPECT_FALSE(no_grad([&] { return x * x; }).requires_grad());
  EXPECT_TRUE((x * x).requires_grad());
}

TEST(Recording, GoesOnAfterAnExceptionInsideNoGrad) {
  EXPECT_THROW(no_grad([] { throw ValueError("inside"); }), ValueError);
  EXPECT_TRUE(grad_enabled());
}

TEST(Recording, DetachCutsTheGraphAndSharesTheArray) {
  Tensor x = leaf(3);
  Tensor inner = x * x;
  Tensor cut = inner.detach();
  EXPECT_FALSE(cut.requires_grad());
  EXPECT_TRUE(cut.data().shares_memory_with(inner.data()));
  (cut * x).backward();
  EXPECT_EQ(grad_of(x), Values{9});
}

constexpr int kDeep = 200000;

Tensor deep_chain(const Tensor& x) {
  Tensor y = x;
  const Tensor one = Tensor::scalar(1, DType::float64);
  for (int i = 0; i < kDeep; ++i) y = y + one;
  return y;
}

TEST(DeepGraphs, RunBackwardWithoutRecursion) {
  Tensor x = leaf(3);
  Tensor y = deep_chain(x);
  y.backward();
  EXPECT_EQ(grad_of(x), Values{1});
}

TEST(DeepGraphs, AreFreedWithoutRecursion) {
  Tensor x = leaf(3);
  EXPECT_EQ(deep_chain(x).item<double>(), 3 + kDeep);
  Tensor kept = deep_chain(x);
  kept.backward({.retain_graph = true});
  kept = Tensor();
  EXPECT_EQ(grad_of(x), Values{1});
}

TEST(DeepGraphs, OfGradientsAreFreedWithoutRecursionToo) {
  const Tensor x = leaf(0.5);
  Tensor y = x;
  for (int i = 0; i < kDeep / 4; ++i) y = -y;
  const Tensor first = grad(y * y, {x}, {}, {.create_graph = true})[0];
  EXPECT_EQ(first.item<double>(), 1);
  EXPECT_EQ(grad(first, {x})[0].item<double>(), 2);
}

TEST(Listening, SeesEveryOpWithItsTensorsButNotBackward) {
  struct Listener : ApplyListener {
    void on_apply(const Op& op, std::span<const Tensor> inputs, const Tensor& output) override {
      names.emplace_back(op.name());
      for (const Tensor& input : inputs) ids.push_back(input.id());
      outputs.push_back(output.id());
    }
    std::vector<std::string> names;
    std::vector<const void*> ids, outputs;
  } listener;
  Tensor x = leaf(3), plain = kTwo;
  ApplyListener* before = set_apply_listener(&listener);
  const Tensor a = x * plain, b = exp(plain);
  a.backward();
  set_apply_listener(before);
  exp(x);
  EXPECT_EQ(listener.names, (std::vector<std::string>{"mul", "exp"}));
  EXPECT_EQ(listener.ids, (std::vector<const void*>{x.id(), plain.id(), plain.id()}));
  EXPECT_EQ(listener.outputs, (std::vector<const void*>{a.id(), b.id()}));
}

TEST(Ops, AreFoundByNameAndUnknownNamesAreErrors) {
  EXPECT_EQ(make_op("add", {})->name(), "add");
  EXPECT_THAT([] { make_op("frobnicate", {}); }, ThrowsMessage<FormatError>("unknown op 'frobnicate'"));
  EXPECT_THROW(register_op("add", {}), ValueError);
  const auto names = registered_ops();
  EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
  EXPECT_THAT(names, testing::IsSupersetOf({"add", "relu"}));
}

/// x^2 with a gradient that is wrong by a factor, in the element that is asked for.
class WrongSquare : public Op {
 public:
  explicit WrongSquare(double factor) : factor_(factor) {}
  std::string_view name() const override { return "wrong_square"; }
  NDArray compute(std::span<const NDArray> inputs) override { return mul(Tensor(inputs[0]), Tensor(inputs[0])).data(); }
  std::vector<Tensor> gradient(const Tensor& g, std::span<const Tensor> in, const Tensor&) override {
    const Tensor factor = NDArray::from_vector<double>({2, factor_});
    return {g * factor * in[0]};
  }

 private:
  double factor_;
};

TEST(Gradcheck, FindsAWrongGradientAndNamesItsElement) {
  const NDArray x = NDArray::from_vector<double>({1, 2});
  auto square = [](double factor) {
    return [factor](const std::vector<Tensor>& in) { return apply(std::make_unique<WrongSquare>(factor), {in[0]}); };
  };
  gradcheck(square(2), {x});
  EXPECT_THAT([&] { gradcheck(square(2.02), {x}); },
              ThrowsMessage<ValueError>(HasSubstr("gradcheck: input 0 element 1")));
  EXPECT_THROW(gradcheck(square(2), {x.to(DType::float32)}), DTypeError);
}

TEST(Gradcheck, FindsADetachedDependenceAndAWrongSecondDerivative) {
  const NDArray x = NDArray::from_vector<double>({1, 2});
  EXPECT_THROW(gradcheck([](const std::vector<Tensor>& in) { return in[0] * in[0].detach(); }, {x}), ValueError);
  // The first derivative of this is right where it is taken, its own dependence on x is cut off.
  class CutGradient : public WrongSquare {
   public:
    CutGradient() : WrongSquare(2) {}
    std::vector<Tensor> gradient(const Tensor& g, std::span<const Tensor> in, const Tensor&) override {
      return {g * 2.0 * in[0].detach()};
    }
  };
  auto cut = [](const std::vector<Tensor>& in) { return apply(std::make_unique<CutGradient>(), {in[0]}); };
  gradcheck(cut, {x});
  EXPECT_THROW(gradgradcheck(cut, {x}), ValueError);
}

TEST(Backward, EachLeafOwnsItsGradient) {
  Tensor a(NDArray::ones({2, 3}), true), b(NDArray::ones({2, 3}), true);
  sum(a + b).backward();
  ASSERT_TRUE(a.grad().data().is_contiguous());
  Tensor(a.grad()).mutable_data().fill(7);  // clipping in place, say
  EXPECT_EQ(b.grad().data().to_vector<float>(), std::vector<float>(6, 1));

  const NDArray seed = NDArray::ones({2, 3});
  Tensor c(NDArray::ones({2, 3}), true);
  (c + 0).backward(Tensor(seed));
  Tensor(c.grad()).mutable_data().fill(7);
  EXPECT_EQ(seed.to_vector<float>(), std::vector<float>(6, 1));
}

TEST(Backward, GradientsHaveTheDtypeOfTheirTensor) {
  Tensor x(NDArray::ones({2}), true);
  EXPECT_THROW((x * 2).backward(Tensor(NDArray::ones({2}, DType::float64))), DTypeError);
  EXPECT_THROW(x.set_grad(NDArray::ones({2}, DType::float64)), DTypeError);
  EXPECT_THROW(x.set_grad(NDArray::ones({3})), ShapeError);
  EXPECT_THROW(x.set_data(NDArray()), ValueError);
}

TEST(Backward, EachLeafOwnsItsGradientWithAGraphToo) {
  Tensor a(NDArray::ones({2, 3}), true), b(NDArray::ones({2, 3}), true);
  sum(a + b).backward({.create_graph = true});
  EXPECT_NE(a.grad().id(), b.grad().id());
  EXPECT_TRUE(a.grad().data().is_contiguous());
}

}  // namespace
}  // namespace thimble
