// Parts of a tensor, made of slices.
#include <algorithm>
#include <limits>
#include <numeric>

#include <thimble/core/ops/shape.h>

namespace thimble {

namespace {

// Numbers from the end stay such, so that a traced graph takes other sizes.
Tensor slice_of(const char* op, const Tensor& x, int axis, int64_t start, int64_t length) {
  const int64_t size = x.shape(axis), first = start < 0 ? start + size : start;
  check<ShapeError>(first >= 0 && length >= 0 && first <= size && length <= size - first, op, ": there are no ", length,
                    " elements from ", start, " on, along an axis of size ", size);
  const bool is_rest = start < 0 && start + length >= 0;
  return slice(x, axis, start, is_rest ? std::numeric_limits<int64_t>::max() : start + length);
}

}  // namespace

Tensor select(const Tensor& x, int64_t axis, int64_t index) {
  const int a = normalize_axis(axis, x.ndim(), "select");
  return squeeze(slice_of("select", x, a, index, 1), a);
}

Tensor narrow(const Tensor& x, int64_t axis, int64_t start, int64_t length) {
  return slice_of("narrow", x, normalize_axis(axis, x.ndim(), "narrow"), start, length);
}

std::vector<Tensor> split(const Tensor& x, int64_t split_size, int64_t axis) {
  check<ValueError>(split_size > 0, "split: parts of ", split_size, " elements");
  const int a = normalize_axis(axis, x.ndim(), "split");
  const int64_t size = x.shape(a);
  std::vector<Tensor> parts;
  for (int64_t start = 0, end = 0; start < size; start = end) {
    end = start + std::min(split_size, size - start);
    parts.push_back(slice(x, a, start, end));
  }
  if (parts.empty()) parts.push_back(x);
  return parts;
}

std::vector<Tensor> split(const Tensor& x, const std::vector<int64_t>& split_sizes, int64_t axis) {
  const int a = normalize_axis(axis, x.ndim(), "split");
  int64_t left = x.shape(a);
  for (const int64_t size : split_sizes) {
    check<ShapeError>(size >= 0 && size <= left, "split: sizes ", Shape(split_sizes),
                      " do not add up to that of an axis of size ", x.shape(a));
    left -= size;
  }
  check<ShapeError>(left == 0, "split: sizes ", Shape(split_sizes), " do not add up to that of an axis of size ",
                    x.shape(a));
  std::vector<Tensor> parts;
  int64_t start = 0;
  for (const int64_t size : split_sizes) {
    parts.push_back(slice(x, a, start, start + size));
    start += size;
  }
  return parts;
}

std::vector<Tensor> unbind(const Tensor& x, int64_t axis) {
  const int a = normalize_axis(axis, x.ndim(), "unbind");
  std::vector<Tensor> slices;
  for (int64_t i = 0; i < x.shape(a); ++i) slices.push_back(select(x, a, i));
  return slices;
}

Tensor flip(const Tensor& x, const Shape& axes) {
  Tensor out = x;
  std::vector<bool> flipped(static_cast<size_t>(x.ndim()));
  for (const int64_t axis : axes) {
    const int a = normalize_axis(axis, x.ndim(), "flip");
    check<ShapeError>(!flipped[static_cast<size_t>(a)], "flip: axis ", axis, " is given twice");
    flipped[static_cast<size_t>(a)] = true;
    out = slice(out, a, -1, std::numeric_limits<int64_t>::min(), -1);
  }
  return out;
}

Tensor movedim(const Tensor& x, int64_t source, int64_t destination) {
  const int from = normalize_axis(source, x.ndim(), "movedim"), to = normalize_axis(destination, x.ndim(), "movedim");
  std::vector<int64_t> axes(static_cast<size_t>(x.ndim()));
  std::iota(axes.begin(), axes.end(), 0);
  axes.erase(axes.begin() + from);
  axes.insert(axes.begin() + to, from);
  return permute(x, axes);
}

}  // namespace thimble
