#include <algorithm>
#include <limits>

#include <thimble/core/kernels/elementwise/wide.h>
#include <thimble/core/kernels/reduce/fold.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {

constexpr int64_t kGrainOfFolds = 16384;

// The least number of the dtype, or the greatest.
template <typename W>
W bound_of(DType dtype, bool greatest) {
  return dispatch(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    if constexpr (is_16_bit_float<T>)
      return greatest ? W{1} : W{0};  // nobody asks
    else
      return static_cast<W>(greatest ? std::numeric_limits<T>::max() : std::numeric_limits<T>::lowest());
  });
}

template <typename W>
W of_no_elements(IntegerBinary function, DType dtype) {
  switch (function) {
    case IntegerBinary::add:
      return 0;
    case IntegerBinary::mul:
      return 1;
    default:
      return bound_of<W>(dtype, function == IntegerBinary::minimum);
  }
}

template <typename W>
void fold_rows(W (*function)(W, W), W start, const NDArray& rows, NDArray& out) {
  const NDArray wide = rows.to(dtype_of<W>).contiguous();
  NDArray results(out.shape(), dtype_of<W>);
  const W* from = wide.data<W>();
  W* to = results.data<W>();
  const int64_t n = rows.shape(-1);
  parallel_for(results.numel(), kGrainOfFolds / std::max<int64_t>(n, 1) + 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      W result = start;
      for (int64_t j = 0; j < n; ++j) result = function(result, from[i * n + j]);
      to[i] = result;
    }
  });
  out.copy_from(results);
}

// The reduced axes as the last dimension.
NDArray as_rows(const NDArray& x, const Shape& axes) {
  Shape order;
  int64_t terms = 1;
  for (int d = 0; d < x.ndim(); ++d)
    if (std::ranges::find(axes, d) == axes.end()) order.push_back(d);
  for (const int64_t d : axes) {
    order.push_back(d);
    terms *= x.shape(static_cast<int>(d));
  }
  const int64_t rows = terms > 0 ? x.numel() / terms : 0;
  return x.permute(order).reshape({rows, terms});
}

}  // namespace

void fold(IntegerBinary function, const NDArray& x, const Shape& axes, NDArray& out) {
  NDArray rows = as_rows(x, axes);
  if (rows.numel() == 0) rows = NDArray({out.numel(), 0}, x.dtype());
  dispatch_wide(x.dtype(), [&](auto tag) {
    using W = typename decltype(tag)::type;
    fold_rows(wide_function<W>(function), of_no_elements<W>(function, x.dtype()), rows, out);
  });
}

}  // namespace thimble::kernels
