// Shape: the sizes (or strides) of an array's dimensions, held inline.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <ostream>
#include <span>
#include <string_view>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/core/error.h>

namespace thimble {

/// A short list of int64, at most kMaxDims long, without heap memory. Also used for strides and lists of axes.
class THIMBLE_API Shape {
 public:
  static constexpr int kMaxDims = 8;

  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) : Shape(std::span<const int64_t>(dims.begin(), dims.size())) {}
  Shape(const std::vector<int64_t>& dims) : Shape(std::span<const int64_t>(dims)) {}
  /// Throws ShapeError for more than kMaxDims dimensions.
  explicit Shape(std::span<const int64_t> dims) {
    for (int64_t d : dims) push_back(d);
  }
  /// n copies of value.
  static Shape filled(int n, int64_t value) {
    Shape s;
    for (int i = 0; i < n; ++i) s.push_back(value);
    return s;
  }

  int ndim() const { return ndim_; }
  bool empty() const { return ndim_ == 0; }
  int64_t& operator[](int i) { return dims_[static_cast<size_t>(i)]; }
  int64_t operator[](int i) const { return dims_[static_cast<size_t>(i)]; }
  int64_t& back() { return dims_[static_cast<size_t>(ndim_ - 1)]; }
  int64_t back() const { return dims_[static_cast<size_t>(ndim_ - 1)]; }
  int64_t* begin() { return dims_.data(); }
  int64_t* end() { return dims_.data() + ndim_; }
  const int64_t* begin() const { return dims_.data(); }
  const int64_t* end() const { return dims_.data() + ndim_; }

  void push_back(int64_t value) {
    check<ShapeError>(ndim_ < kMaxDims, "at most ", kMaxDims, " dimensions are supported");
    dims_[static_cast<size_t>(ndim_++)] = value;
  }
  void insert(int at, int64_t value);
  void erase(int at);

  /// Product of the sizes; 1 for a scalar.
  int64_t numel() const {
    int64_t n = 1;
    for (int64_t d : *this) n *= d;
    return n;
  }
  std::vector<int64_t> to_vector() const { return {begin(), end()}; }

  friend THIMBLE_API bool operator==(const Shape& a, const Shape& b);

 private:
  std::array<int64_t, kMaxDims> dims_{};
  int ndim_ = 0;
};

/// "[2,3]"
THIMBLE_API std::ostream& operator<<(std::ostream& out, const Shape& shape);

/// Strides, in elements, of a contiguous (row-major) array.
THIMBLE_API Shape contiguous_strides(const Shape& shape);

/// NumPy's broadcast of two shapes; throws ShapeError that names `op` where they do not fit.
THIMBLE_API Shape broadcast_shapes(const Shape& a, const Shape& b, std::string_view op);

/// An axis in [-ndim, ndim) as one in [0, ndim); throws ShapeError that names `op`.
THIMBLE_API int normalize_axis(int64_t axis, int ndim, const char* op);

/// Axes made non-negative, sorted and checked for repeats; an empty list means all of them (as in PyTorch).
THIMBLE_API Shape normalize_axes(const Shape& axes, int ndim, const char* op);

}  // namespace thimble
