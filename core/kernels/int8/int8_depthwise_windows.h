// Where the taps of depthwise windows lie. In an anonymous namespace for the reason given in int8_depthwise_loops.h.
#pragma once

#include <cstdint>

#include <thimble/core/kernels/int8/int8_depthwise_rows.h>

namespace thimble::kernels {
namespace {

// Where a row of taps of neighbouring windows lies: those in [begin, end) tap_column apart, the others outside.
struct InsideRow {
  const uint8_t* x;
  int64_t tap_column;
  [[gnu::always_inline]] const uint8_t* operator[](int64_t tap) const { return x + tap * tap_column; }
};

struct EdgeRow {
  const uint8_t *x, *outside;  // x is the first tap there is
  int64_t tap_column, begin, end;
  [[gnu::always_inline]] const uint8_t* operator[](int64_t tap) const {
    return tap >= begin && tap < end ? x + (tap - begin) * tap_column : outside;
  }
};

// Windows all of whose taps are in the image.
struct InsideWindows {
  const uint8_t* x;  // the first tap
  int64_t tap_row, tap_column;

  [[gnu::always_inline]] InsideRow next_row() {
    const InsideRow row{x, tap_column};
    x += tap_row;
    return row;
  }
};

// The taps [begin, end) of a window from `first` on that are in the image.
struct DepthwiseRange {
  int64_t begin, end;

  // Divisions by 1, most of them, take long all the same.
  static int64_t divide(int64_t a, int64_t b) { return b == 1 ? a : a / b; }
  DepthwiseRange(const Int8DepthwiseAxis& axis, int64_t first) {
    begin = first < 0 ? divide(axis.dilation - 1 - first, axis.dilation) : 0;
    end = first < axis.size ? divide(axis.size - 1 - first, axis.dilation) + 1 : 0;
  }
};

// Windows at the image's edges.
struct EdgeWindows {
  const uint8_t *x, *outside;  // x is the first tap in the image
  int64_t tap_row, tap_column;
  DepthwiseRange rows, columns;
  int64_t row = 0;

  EdgeWindows(const Int8DepthwiseTask& t, int64_t row_of_outputs, int64_t pixel, int64_t first_channel)
      : outside(t.outside + first_channel),
        tap_row(t.tap_row),
        tap_column(t.tap_column),
        rows(t.image_rows, t.image_rows.first + row_of_outputs * t.image_rows.stride),
        columns(t.image_columns, t.image_columns.first + pixel * t.image_columns.stride) {
    x = t.x + (t.first + row_of_outputs * t.x_row + pixel * t.x_pixel + rows.begin * tap_row +
               columns.begin * tap_column + first_channel);
  }
  [[gnu::always_inline]] EdgeRow next_row() {
    const bool inside = row >= rows.begin && row < rows.end;
    const EdgeRow taps{x, outside, tap_column, columns.begin, inside ? columns.end : 0};
    if (inside) x += tap_row;
    ++row;
    return taps;
  }
};

// Windows [begin, end) along an axis see nothing outside of the image.
inline void find_inside(const Int8DepthwiseAxis& axis, int64_t windows, int64_t taps, int64_t& begin, int64_t& end) {
  const int64_t last = axis.first + (taps - 1) * axis.dilation;  // of the first window
  begin = axis.first < 0 ? (-axis.first + axis.stride - 1) / axis.stride : 0;
  end = last < axis.size ? (axis.size - 1 - last) / axis.stride + 1 : 0;
  if (end > windows) end = windows;
}

}  // namespace
}  // namespace thimble::kernels
