#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/core/views.h"
#include <thimble/core/ops/shape.h>

namespace thimble {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr int64_t kHuge = std::numeric_limits<int64_t>::max();

const std::vector<Shape> kMovedShapes = {{},     {1},       {5},       {0},       {2, 3},      {1, 4},
                                         {3, 0}, {2, 1, 3}, {2, 3, 4}, {0, 2, 1}, {2, 3, 1, 2}};

// Compares out[index] with x[source(index)] for every index.
void expect_moved(const NDArray& out, const NDArray& x, const std::function<Shape(const Shape&)>& source) {
  for_each_index(out.shape(), [&](const Shape& i) {
    EXPECT_EQ(at(out, i), at(x, source(i))) << "at " << i << " of " << out.shape();
  });
}

TEST(ShapeOps, ReshapeKeepsRowMajorOrder) {
  Generator generator(1);
  for (const Shape& shape : kMovedShapes) {
    for (const NDArray& x : randn_layouts(shape, generator)) {
      EXPECT_EQ(reshape(x, {x.numel()}).data().to_vector<double>(), x.to_vector<double>());
      EXPECT_EQ(reshape(x, {1, x.numel(), 1}).shape(), (Shape{1, x.numel(), 1}));
      check_gradients([&](const auto& t) { return reshape(t[0], {1, x.numel(), 1}); }, {x});
    }
  }
  EXPECT_EQ(reshape(NDArray::zeros({4, 6}), {3, -1, 2}).shape(), (Shape{3, 4, 2}));
}

TEST(ShapeOps, ReshapeOfContiguousMemoryIsAView) {
  const NDArray x = NDArray::arange(6);
  EXPECT_TRUE(reshape(x, {2, 3}).data().shares_memory_with(x));
}

TEST(ShapeOps, TransposeSwapsTwoAxes) {
  Generator generator(2);
  for (const Shape& shape : kMovedShapes) {
    const int n = shape.ndim();
    for (int a = 0; a < n; ++a) {
      for (int b = 0; b < n; ++b) {
        for (const NDArray& x : randn_layouts(shape, generator)) {
          const Tensor out = transpose(x, a, b - n);
          EXPECT_TRUE(out.data().shares_memory_with(x));
          expect_moved(out.data(), x, [&](Shape i) {
            std::swap(i[a], i[b]);
            return i;
          });
          check_gradients([&](const auto& t) { return transpose(t[0], a, b - n); }, {x});
        }
      }
    }
  }
}

TEST(ShapeOps, PermuteReordersAxes) {
  Generator generator(3);
  for (const Shape& shape : kMovedShapes) {
    for (int round = 0; round < 3; ++round) {
      Shape axes(generator.permutation(shape.ndim()));
      if (round == 2)
        for (int64_t& a : axes) a -= shape.ndim();
      for (const NDArray& x : randn_layouts(shape, generator)) {
        expect_moved(permute(x, axes).data(), x, [&](const Shape& i) {
          Shape from = i;
          for (int d = 0; d < i.ndim(); ++d) from[static_cast<int>(axes[d] < 0 ? axes[d] + i.ndim() : axes[d])] = i[d];
          return from;
        });
        check_gradients([&](const auto& t) { return permute(t[0], axes); }, {x});
      }
    }
  }
}

// The indices that Python's range(*slice(start, stop, step).indices(size)) gives.
std::vector<int64_t> python_range(int64_t size, int64_t start, int64_t stop, int64_t step) {
  auto inside = [&](int64_t i) {
    if (i < 0) i += size;
    if (step > 0) return std::clamp<int64_t>(i, 0, size);
    return std::clamp<int64_t>(i, -1, size - 1);
  };
  std::vector<int64_t> indices;
  start = inside(start), stop = inside(stop);
  for (int64_t i = start; step > 0 ? i < stop : i > stop; i += step) indices.push_back(i);
  return indices;
}

TEST(ShapeOps, SliceSelectsAsPythonDoes) {
  Generator generator(4);
  auto draw = [&](int64_t from, int64_t to) {
    return from + static_cast<int64_t>(generator.below(static_cast<uint64_t>(to - from + 1)));
  };
  for (int round = 0; round < 300; ++round) {
    const Shape& shape = kMovedShapes[generator.below(kMovedShapes.size())];
    if (shape.empty()) continue;
    const int axis = static_cast<int>(draw(0, shape.ndim() - 1));
    const int64_t n = shape[axis], start = draw(-n - 2, n + 2), stop = draw(-n - 2, n + 2);
    const int64_t step = draw(1, 3) * (draw(0, 1) ? 1 : -1);
    const auto indices = python_range(n, start, stop, step);
    for (const NDArray& x : randn_layouts(shape, generator)) {
      const Tensor out = slice(x, axis - shape.ndim(), start, stop, step);
      EXPECT_TRUE(out.data().shares_memory_with(x));
      ASSERT_EQ(out.shape(axis), static_cast<int64_t>(indices.size()))
          << n << ' ' << start << ' ' << stop << ' ' << step;
      expect_moved(out.data(), x, [&](Shape i) {
        i[axis] = indices[static_cast<size_t>(i[axis])];
        return i;
      });
      if (round % 5 == 0)
        check_gradients([&](const auto& t) { return slice(t[0], axis - shape.ndim(), start, stop, step); }, {x});
    }
  }
}

TEST(ShapeOps, SliceTakesTheLargestNumbers) {
  const NDArray x = NDArray::arange(5, DType::int64);
  auto values = [&](int64_t start, int64_t stop, int64_t step) {
    return slice(x, 0, start, stop, step).data().to_vector<int64_t>();
  };
  EXPECT_EQ(values(1, kHuge, 1), (std::vector<int64_t>{1, 2, 3, 4}));
  EXPECT_EQ(values(1, 5, kHuge), (std::vector<int64_t>{1}));
  EXPECT_EQ(values(kHuge, -kHuge - 1, -1), (std::vector<int64_t>{4, 3, 2, 1, 0}));
  EXPECT_EQ(values(3, -kHuge - 1, -kHuge - 1), (std::vector<int64_t>{3}));
}

TEST(ShapeOps, ConcatJoinsAlongAnAxis) {
  Generator generator(5);
  for (Shape shape : std::vector<Shape>{{3}, {2, 3}, {1, 4}, {0, 2}, {2, 3, 2}}) {
    for (int axis = 0; axis < shape.ndim(); ++axis) {
      for (int count = 1; count <= 6; ++count) {
        std::vector<NDArray> parts;
        for (int i = 0; i < count; ++i) {
          shape[axis] = static_cast<int64_t>(generator.below(3));
          parts.push_back(randn_layouts(shape, generator)[generator.below(2)]);
        }
        auto f = [&](const std::vector<Tensor>& t) { return concat(t, axis - shape.ndim()); };
        const NDArray out = f({parts.begin(), parts.end()}).data();
        int64_t begin = 0;
        for (const NDArray& part : parts) {
          const NDArray piece = out.slice(axis, begin, begin + part.shape(axis));
          ASSERT_EQ(piece.shape(), part.shape());
          EXPECT_EQ(piece.to_vector<double>(), part.to_vector<double>());
          begin += part.shape(axis);
        }
        EXPECT_EQ(begin, out.shape(axis));
        check_gradients(f, parts);
      }
    }
  }
}

TEST(ShapeOps, StackMakesANewAxis) {
  Generator generator(6);
  for (const Shape& shape : kMovedShapes) {
    for (int axis = 0; axis <= shape.ndim(); ++axis) {
      const std::vector<NDArray> parts = {randn_view(shape, generator), randn(shape, generator, DType::float64),
                                          randn_view(shape, generator)};
      auto f = [&](const std::vector<Tensor>& t) { return stack(t, axis - shape.ndim() - 1); };
      const NDArray out = f({parts.begin(), parts.end()}).data();
      for (size_t i = 0; i < parts.size(); ++i) {
        const auto k = static_cast<int64_t>(i);
        const NDArray piece = out.slice(axis, k, k + 1).squeeze(axis);
        ASSERT_EQ(piece.shape(), shape);
        EXPECT_EQ(piece.to_vector<double>(), parts[i].to_vector<double>());
      }
      check_gradients(f, parts);
    }
  }
}

TEST(ShapeOps, OnlyRequiredInputsGetGradients) {
  const Tensor a(NDArray::ones({2}), true), b(NDArray::ones({2})), c(NDArray::ones({2}), true);
  for (const Tensor& out : {concat({a, b, c}), reshape(stack({a, b, c}), {6})}) {
    const auto grads = grad(out, {a, b, c}, NDArray::arange(6));
    EXPECT_EQ(grads[0].data().to_vector<float>(), (std::vector<float>{0, 1}));
    EXPECT_FALSE(grads[1].defined());
    EXPECT_EQ(grads[2].data().to_vector<float>(), (std::vector<float>{4, 5}));
  }
}

TEST(ShapeOps, BroadcastToRepeats) {
  Generator generator(7);
  const std::vector<std::pair<Shape, Shape>> cases = {
      {{}, {3}},          {{1}, {4}},       {{3}, {2, 3}},          {{2, 1}, {2, 3}},
      {{1, 1}, {2, 3}},   {{2, 3}, {2, 3}}, {{1, 2, 1}, {3, 2, 4}}, {{1}, {0}},
      {{2, 1}, {0, 2, 3}}};
  for (const auto& sizes : cases) {
    const Shape &from = sizes.first, &to = sizes.second;
    for (const NDArray& x : randn_layouts(from, generator)) {
      const Tensor out = broadcast_to(x, to);
      EXPECT_TRUE(out.data().shares_memory_with(x));
      expect_moved(out.data(), x, [&](const Shape& i) {
        Shape source;
        for (int d = 0; d < from.ndim(); ++d) source.push_back(from[d] == 1 ? 0 : i[d + to.ndim() - from.ndim()]);
        return source;
      });
      check_gradients([&](const auto& t) { return broadcast_to(t[0], to); }, {x});
    }
  }
}

TEST(ShapeOps, BroadcastToKeepsSizesGivenAsMinusOne) {
  EXPECT_EQ(broadcast_to(NDArray::ones({7, 1}), {2, -1, 3}).shape(), (Shape{2, 7, 3}));
  EXPECT_THROW(broadcast_to(NDArray::ones({3}), {-1, 3}), ShapeError);
}

TEST(ShapeOps, SqueezeAndUnsqueezeAreInverse) {
  Generator generator(8);
  for (const Shape& shape : kMovedShapes) {
    for (int axis = 0; axis <= shape.ndim(); ++axis) {
      for (const NDArray& x : randn_layouts(shape, generator)) {
        const Tensor wide = unsqueeze(x, axis - shape.ndim() - 1);
        Shape expected = shape;
        expected.insert(axis, 1);
        EXPECT_EQ(wide.shape(), expected);
        EXPECT_EQ(wide.data().to_vector<double>(), x.to_vector<double>());
        const Tensor narrow = squeeze(wide, axis);
        EXPECT_EQ(narrow.shape(), shape);
        EXPECT_TRUE(narrow.data().shares_memory_with(x));
        check_gradients([&](const auto& t) { return unsqueeze(t[0], axis - shape.ndim() - 1); }, {x});
        check_gradients([&](const auto& t) { return squeeze(t[0], axis - shape.ndim() - 1); }, {x.unsqueeze(axis)});
      }
    }
  }
}

TEST(ShapeOps, FlattenMergesARangeOfDimensions) {
  Generator generator(9);
  for (const Shape& shape : kMovedShapes) {
    const int n = std::max(shape.ndim(), 1);
    for (int start = 0; start < n; ++start) {
      for (int end = start; end < n; ++end) {
        Shape expected;
        for (int d = 0; d < start; ++d) expected.push_back(shape[d]);
        expected.push_back(1);
        for (int d = start; d <= end && d < shape.ndim(); ++d) expected.back() *= shape[d];
        for (int d = end + 1; d < shape.ndim(); ++d) expected.push_back(shape[d]);
        for (const NDArray& x : randn_layouts(shape, generator)) {
          const Tensor out = flatten(x, start, end - n);
          EXPECT_EQ(out.shape(), expected);
          EXPECT_EQ(out.data().to_vector<double>(), x.to_vector<double>());
          check_gradients([&](const auto& t) { return flatten(t[0], start, end - n); }, {x});
        }
      }
    }
  }
}

TEST(ShapeOps, PadSurroundsWithAConstant) {
  Generator generator(10);
  for (const Shape& shape : kMovedShapes) {
    for (int round = 0; round < 4; ++round) {
      std::vector<int64_t> padding(2 * generator.below(static_cast<uint64_t>(shape.ndim()) + 1));
      for (int64_t& p : padding) p = static_cast<int64_t>(generator.below(3));
      auto before = [&](int d) {
        const auto i = 2 * static_cast<size_t>(shape.ndim() - 1 - d);
        return i < padding.size() ? padding[i] : 0;
      };
      for (const NDArray& x : randn_layouts(shape, generator)) {
        const NDArray out = pad(x, padding, 2.5).data();
        for_each_index(out.shape(), [&](const Shape& i) {
          Shape source = i;
          bool inside = true;
          for (int d = 0; d < i.ndim(); ++d) {
            source[d] -= before(d);
            inside = inside && source[d] >= 0 && source[d] < shape[d];
          }
          EXPECT_EQ(at(out, i), inside ? at(x, source) : 2.5);
        });
        check_gradients([&](const auto& t) { return pad(t[0], padding, 2.5); }, {x});
      }
    }
  }
}

TEST(ShapeOps, WorkOnEveryDtype) {
  for (DType dtype : kAllDTypes) {
    const NDArray x = NDArray::arange(6, dtype).reshape({2, 3});
    const auto expected = [&](const std::vector<int>& values) {
      return NDArray::from_vector(values).to(dtype).to_vector<int>();
    };
    EXPECT_EQ(concat({x, x}, 1).data().to_vector<int>(), expected({0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5}));
    EXPECT_EQ(stack({x, x}, 0).data().to_vector<int>(), expected({0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5}));
    EXPECT_EQ(flatten(transpose(x, 0, 1)).data().to_vector<int>(), expected({0, 3, 1, 4, 2, 5}));
    EXPECT_EQ(pad(x, {1, 0}, 9).data().to_vector<int>(), expected({9, 0, 1, 2, 9, 3, 4, 5}));
    EXPECT_EQ(slice(reshape(x, {6}), 0, 5, 0, -2).data().to_vector<int>(), expected({5, 3, 1}));
    for (const Tensor& t : {concat({x, x}, 1), stack({x}), flatten(x), pad(x, {1, 0}), slice(x, 0, 0, 1)})
      EXPECT_EQ(t.dtype(), dtype);
  }
}

// Catches each op as it is applied and makes it again from its name and attributes.
class MakeAgain : public ApplyListener {
 public:
  MakeAgain() : before_(set_apply_listener(this)) {}
  ~MakeAgain() override { set_apply_listener(before_); }
  void on_apply(const Op& op, std::span<const Tensor> inputs, const Tensor& output) override {
    std::vector<NDArray> arrays;
    for (const Tensor& t : inputs) arrays.push_back(t.data());
    const auto again = make_op(op.name(), op.attributes());
    EXPECT_EQ(again->name(), op.name());
    EXPECT_EQ(again->attributes(), op.attributes());
    const NDArray out = again->compute(arrays);
    EXPECT_EQ(out.shape(), output.shape());
    EXPECT_EQ(out.to_vector<double>(), output.data().to_vector<double>()) << op.name();
    names.push_back(std::string(op.name()));
  }
  std::vector<std::string> names;

 private:
  ApplyListener* before_;
};

TEST(ShapeOps, AreMadeAgainFromTheirAttributes) {
  Generator generator(11);
  const Tensor x = randn({2, 1, 3}, generator);
  MakeAgain listener;
  reshape(x, {3, -1});
  transpose(x, 0, -1);
  permute(x, {2, -3, 1});
  slice(x, -1, 2, -4, -2);
  concat({x, x}, 1);
  stack({x, x}, -1);
  broadcast_to(x, {4, 2, -1, 3});
  squeeze(x, 1);
  unsqueeze(x, -1);
  flatten(x, 1, -1);
  pad(x, {1, 2, 0, 1}, -0.5);
  EXPECT_EQ(listener.names, (std::vector<std::string>{"reshape", "transpose", "permute", "slice", "concat", "stack",
                                                      "broadcast_to", "squeeze", "unsqueeze", "flatten", "pad"}));
}

// Axes belong to ONNX's list, "pads", and are as many as that has pairs.
TEST(ShapeOps, PyTorchsPaddingKnowsNoAxes) {
  const Attributes attributes{{"padding", std::vector<int64_t>(6, 1)}, {"axes", std::vector<int64_t>{0}}};
  EXPECT_EQ(thimble::apply(make_op("pad", attributes), {NDArray::ones({1, 2, 3})}).shape(), (Shape{3, 4, 5}));
}

// Files can name them: no memory is taken for what does not fit.
TEST(ShapeOps, TransposesOfSelectionsCheckBeforeTheyAllocate) {
  const int64_t huge = int64_t{1} << 46;
  const Tensor grad = NDArray::ones({2}), index = NDArray::from_vector<int64_t>({0, -1});
  const std::vector<int64_t> line{huge}, square{huge / 4, 4};
  const auto refuses = [](const char* op, const Attributes& attributes, const std::vector<Tensor>& inputs) {
    EXPECT_THROW(thimble::apply(make_op(op, attributes), inputs), Error) << op;
  };
  refuses("slice_backward",
          {{"axis", int64_t{0}}, {"start", int64_t{0}}, {"stop", int64_t{3}}, {"step", int64_t{1}}, {"shape", line}},
          {grad});
  refuses("diagonal_backward", {{"axis0", int64_t{0}}, {"axis1", int64_t{1}}, {"shape", square}}, {grad});
  refuses("gather_backward", {{"axis", int64_t{0}}, {"shape", line}}, {grad, index});
  refuses("index_select_backward", {{"axis", int64_t{0}}, {"size", huge}}, {grad, index});
}

TEST(ShapeOps, SliceBackwardIsMadeAgainFromItsAttributes) {
  const Attributes attributes{{"axis", int64_t{-1}},
                              {"start", int64_t{2}},
                              {"stop", int64_t{-4}},
                              {"step", int64_t{-2}},
                              {"shape", std::vector<int64_t>{2, 3}}};
  const auto op = make_op("slice_backward", attributes);
  EXPECT_EQ(op->attributes(), attributes);
  const NDArray grad = NDArray::from_vector<float>({1, 2, 3, 4}, {2, 2});
  EXPECT_EQ(op->compute({&grad, 1}).to_vector<float>(), (std::vector<float>{2, 0, 1, 4, 0, 3}));
  const NDArray wrong = NDArray::zeros({2, 3});
  EXPECT_THROW(op->compute({&wrong, 1}), ShapeError);
}

TEST(ShapeOps, RejectAttributesThatDoNotFit) {
  EXPECT_THROW(make_op("reshape", {{"shape", std::vector<int64_t>(9, 1)}}), FormatError);
  EXPECT_THROW(make_op("permute", {}), FormatError);
  EXPECT_THROW(make_op("slice", {{"axis", std::string("0")}}), FormatError);
}

TEST(ShapeOps, MessagesNameTheOpAndTheNumbers) {
  const Tensor x = NDArray::zeros({2, 3}), y = NDArray::zeros({2, 4, 1}),
               integers = NDArray::zeros({2, 3}, DType::int8);
  auto shape_error = [](auto f, const char* text) { EXPECT_THAT(f, ThrowsMessage<ShapeError>(HasSubstr(text))); };
  shape_error([&] { reshape(x, {4, -1}); }, "reshape: [2,3] cannot be reshaped to [4,-1]");
  shape_error([&] { reshape(x, {-1, -1}); }, "reshape: shape [-1,-1] is not valid");
  shape_error([&] { reshape(x, {kHuge, 2, 3}); }, "reshape: shape");
  shape_error([&] { transpose(x, 0, int64_t{1} << 32); }, "transpose: axis 4294967296 is out of range");
  shape_error([&] { permute(x, {0, 0}); }, "permute: axes [0,0] repeat an axis");
  shape_error([&] { permute(x, {0}); }, "permute: axes [0] do not match shape [2,3]");
  shape_error([&] { slice(x, 2, 0, 1); }, "slice: axis 2 is out of range for 2 dimensions");
  EXPECT_THROW(slice(x, 0, 0, 1, 0), ValueError);
  EXPECT_THAT([&] { concat({}); }, ThrowsMessage<ValueError>("concat: takes 1 or more inputs, got 0"));
  shape_error([&] { concat({x, y}); }, "concat: tensor 1 of shape [2,4,1] does not fit [2,3] along axis 0");
  shape_error([&] { concat({x, x}, -3); }, "concat: axis -3 is out of range");
  EXPECT_THAT([&] { concat({x, integers}); }, ThrowsMessage<DTypeError>(HasSubstr("concat: tensor 1 is int8")));
  EXPECT_THAT([&] { stack({}); }, ThrowsMessage<ValueError>("stack: takes 1 or more inputs, got 0"));
  shape_error([&] { stack({x, y}); }, "stack: tensor 1 of shape [2,4,1] is not of tensor 0's shape [2,3]");
  EXPECT_THAT([&] { stack({x, integers}); }, ThrowsMessage<DTypeError>(HasSubstr("stack: tensor 1 is int8")));
  shape_error([&] { broadcast_to(x, {3, 3}); }, "broadcast_to: [2,3] cannot be broadcast to [3,3]");
  shape_error([&] { broadcast_to(NDArray::zeros({1}), {kHuge, kHuge}); }, "too large");
  shape_error([&] { squeeze(x, -1); }, "squeeze: dimension 1 of [2,3] is not 1");
  shape_error([&] { unsqueeze(x, 3); }, "unsqueeze: axis 3 is out of range");
  shape_error([&] { flatten(y, 2, 1); }, "flatten: start_dim 2 comes after end_dim 1 in shape [2,4,1]");
  shape_error([&] { pad(x, {1}); }, "pad: 1 numbers of padding do not fit shape [2,3]");
  shape_error([&] { pad(x, {0, 0, 0, 0, 0, 0}); }, "pad: 6 numbers of padding do not fit shape [2,3]");
  shape_error([&] { pad(x, {kHuge, kHuge}); }, "is too large");
  shape_error([&] { pad(x, {-2, -2}); }, "pad: padding {-2,-2} cuts off more than the 3 of axis 1");
  shape_error([&] { pad(NDArray::zeros({2, 0}), {1, 0}, PadMode::replicate); }, "pad: there is nothing to repeat");
}

TEST(Concat, BeyondAllMemoryIsAnError) {
  const NDArray wide = NDArray::ones({1}, DType::uint8).broadcast_to({int64_t{1} << 62});
  EXPECT_THROW(concat({wide, wide}, 0), ShapeError);
}

}  // namespace
}  // namespace thimble
