#include <algorithm>
#include <cstring>

#include <thimble/core/kernels/elementwise/indexing.h>
#include <thimble/core/kernels/elementwise/long_sums.h>
#include <thimble/core/kernels/elementwise/strided.h>

namespace thimble::kernels {

namespace {

/// A contiguous array seen as [outer, size, inner] around an axis.
struct AxisView {
  int64_t outer = 1, size = 1, inner = 1;

  AxisView(const Shape& shape, int axis) {
    for (int d = 0; d < shape.ndim(); ++d) (d < axis ? outer : d == axis ? size : inner) *= shape[d];
  }
  int64_t offset(int64_t o, int64_t i, int64_t column) const { return (o * size + i) * inner + column; }
};

// Calls body(o, i, column, n) for each o < outer, each i < count in ascending order, and runs of n columns that cover
// inner. Threads divide (o, column), never i, so that sums over i have one order.
template <typename Body>
void for_each_run(int64_t outer, int64_t count, int64_t inner, Body&& body) {
  parallel_for(outer * inner, std::max<int64_t>(1, kElementwiseGrain / std::max<int64_t>(count, 1)),
               [&](int64_t begin, int64_t end) {
                 while (begin < end) {
                   const int64_t o = begin / inner, column = begin % inner;
                   const int64_t n = std::min(inner - column, end - begin);
                   for (int64_t i = 0; i < count; ++i) body(o, i, column, n);
                   begin += n;
                 }
               });
}

Shape without(Shape shape, int axis) {
  shape.erase(axis);
  return shape;
}

// Calls body(selected, place) for each element of index, with its offset in an array of strides `selected_strides`
// whose coordinate along axis is the index, and its offset in one of `place_strides` with index's own coordinates.
// Elements of one line along axis come in ascending order on one thread.
template <typename Body>
void for_each_index(const NDArray& index, int axis, const Shape& selected_strides, const Shape& place_strides,
                    Body&& body) {
  const int64_t length = index.shape(axis);
  if (length == 0) return;
  const int64_t* values = index.data<int64_t>();
  const Shape index_lines = without(index.strides(), axis), selected_lines = without(selected_strides, axis),
              place_lines = without(place_strides, axis);
  const StridedPlan<3> plan(without(index.shape(), axis), {&index_lines, &selected_lines, &place_lines});
  plan.for_each_row(std::max<int64_t>(1, kElementwiseGrain / length), [&](const std::array<int64_t, 3>& at, int64_t n) {
    for (int64_t line = 0; line < n; ++line) {
      const int64_t* v = values + at[0] + line * plan.inner(0);
      const int64_t selected = at[1] + line * plan.inner(1), place = at[2] + line * plan.inner(2);
      for (int64_t i = 0; i < length; ++i)
        body(selected + v[i * index.strides()[axis]] * selected_strides[axis], place + i * place_strides[axis]);
    }
  });
}

}  // namespace

void index_select(const NDArray& x, int axis, const NDArray& index, NDArray& out) {
  const AxisView from(x.shape(), axis), to(out.shape(), axis);
  const int64_t* indices = index.data<int64_t>();
  const auto item = static_cast<int64_t>(itemsize(x.dtype()));
  const char* source = static_cast<const char*>(x.raw());
  char* target = static_cast<char*>(out.raw());
  for_each_run(to.outer, to.size, to.inner, [&](int64_t o, int64_t i, int64_t column, int64_t n) {
    std::memcpy(target + to.offset(o, i, column) * item, source + from.offset(o, indices[i], column) * item,
                static_cast<size_t>(n * item));
  });
}

void index_add(const NDArray& grad, int axis, const NDArray& index, NDArray& out) {
  const AxisView from(grad.shape(), axis), to(out.shape(), axis);
  const int64_t* indices = index.data<int64_t>();
  const bool widen = most_repeats(index, to.size) > kMostFloatTerms;
  add_to_sums(grad, out, widen, [&](const auto* source, auto* target) {
    for_each_run(from.outer, from.size, from.inner, [&](int64_t o, int64_t i, int64_t column, int64_t n) {
      const auto* in = source + from.offset(o, i, column);
      auto* sum = target + to.offset(o, indices[i], column);
      for (int64_t c = 0; c < n; ++c) sum[c] += in[c];
    });
  });
}

void gather(const NDArray& x, int axis, const NDArray& index, NDArray& out) {
  dispatch_width(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const auto* source = static_cast<const T*>(x.raw());
    auto* target = static_cast<T*>(out.raw());
    for_each_index(index, axis, x.strides(), out.strides(),
                   [&](int64_t selected, int64_t place) { target[place] = source[selected]; });
  });
}

void scatter_add(const NDArray& grad, int axis, const NDArray& index, NDArray& out) {
  const bool widen = index.shape(axis) > kMostFloatTerms;
  add_to_sums(grad, out, widen, [&](const auto* source, auto* target) {
    for_each_index(index, axis, out.strides(), grad.strides(),
                   [&](int64_t selected, int64_t place) { target[selected] += source[place]; });
  });
}

}  // namespace thimble::kernels
