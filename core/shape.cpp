#include <algorithm>

#include <thimble/core/shape.h>

namespace thimble {

void Shape::insert(int at, int64_t value) {
  push_back(value);
  std::rotate(begin() + at, end() - 1, end());
}

void Shape::erase(int at) {
  std::rotate(begin() + at, begin() + at + 1, end());
  --ndim_;
}

bool operator==(const Shape& a, const Shape& b) { return std::equal(a.begin(), a.end(), b.begin(), b.end()); }

std::ostream& operator<<(std::ostream& out, const Shape& shape) {
  out << '[';
  for (int i = 0; i < shape.ndim(); ++i) out << (i ? "," : "") << shape[i];
  return out << ']';
}

Shape contiguous_strides(const Shape& shape) {
  Shape strides = shape;
  uint64_t step = 1;  // may wrap: shapes come from files, and whoever makes an array asks whether one is too large
  for (int i = shape.ndim() - 1; i >= 0; --i) {
    strides[i] = static_cast<int64_t>(step);
    step *= static_cast<uint64_t>(std::max<int64_t>(shape[i], 1));
  }
  return strides;
}

Shape broadcast_shapes(const Shape& a, const Shape& b, std::string_view op) {
  Shape out = Shape::filled(std::max(a.ndim(), b.ndim()), 1);
  for (int i = 1; i <= out.ndim(); ++i) {
    const int64_t x = i <= a.ndim() ? a[a.ndim() - i] : 1;
    const int64_t y = i <= b.ndim() ? b[b.ndim() - i] : 1;
    check<ShapeError>(x == y || x == 1 || y == 1, op, ": shapes ", a, " and ", b, " cannot be broadcast together");
    out[out.ndim() - i] = x == 1 ? y : x;
  }
  return out;
}

int normalize_axis(int64_t axis, int ndim, const char* op) {
  check<ShapeError>(axis >= -ndim && axis < ndim, op, ": axis ", axis, " is out of range for ", ndim, " dimensions");
  return static_cast<int>(axis < 0 ? axis + ndim : axis);
}

Shape normalize_axes(const Shape& axes, int ndim, const char* op) {
  Shape out;
  if (axes.empty()) {
    for (int i = 0; i < ndim; ++i) out.push_back(i);
    return out;
  }
  for (int64_t axis : axes) out.push_back(normalize_axis(axis, ndim, op));
  std::sort(out.begin(), out.end());
  check<ShapeError>(std::adjacent_find(out.begin(), out.end()) == out.end(), op, ": axes ", axes, " repeat an axis");
  return out;
}

}  // namespace thimble
