#include <algorithm>
#include <numeric>
#include <vector>

#include <thimble/core/kernels/elementwise/wide.h>
#include <thimble/core/kernels/reduce/lines.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {

constexpr int64_t kGrainOfLines = 16384;

template <typename W>
void running_sums(const W* x, int64_t n, int64_t stride, bool exclusive, W* out) {
  const auto add = wide_function<W>(IntegerBinary::add);
  W sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    const W before = sum;
    sum = add(sum, x[i * stride]);
    out[i * stride] = exclusive ? before : sum;
  }
}

// Whether a comes before b, where larger numbers come first, NaN before all.
template <typename W>
bool is_larger(W a, W b) {
  return a > b || (a != a && b == b);
}

}  // namespace

void cumsum(const NDArray& x, int axis, bool exclusive, bool reverse, NDArray& out) {
  dispatch_wide(x.dtype(), [&](auto tag) {
    using W = typename decltype(tag)::type;
    const NDArray from = x.to(dtype_of<W>).contiguous();
    NDArray sums(x.shape(), dtype_of<W>);
    const int64_t n = x.shape(axis), inner = contiguous_strides(x.shape())[axis];
    const int64_t lines = n > 0 ? x.numel() / n : 0, start = reverse ? (n - 1) * inner : 0;
    parallel_for(lines, kGrainOfLines / std::max<int64_t>(n, 1) + 1, [&](int64_t begin, int64_t end) {
      for (int64_t line = begin; line < end; ++line) {
        const int64_t at = line / inner * n * inner + line % inner + start;
        running_sums(from.data<W>() + at, n, reverse ? -inner : inner, exclusive, sums.data<W>() + at);
      }
    });
    out.copy_from(sums);
  });
}

void top_k(const NDArray& x, bool largest, NDArray& out) {
  const int64_t n = x.shape(-1), k = out.shape(-1), lines = n > 0 ? x.numel() / n : 0;
  int64_t* to = out.data<int64_t>();
  dispatch_wide(x.dtype(), [&](auto tag) {
    using W = typename decltype(tag)::type;
    const NDArray from = x.to(dtype_of<W>).contiguous();
    parallel_for(lines, kGrainOfLines / std::max<int64_t>(n, 1) + 1, [&](int64_t begin, int64_t end) {
      std::vector<int64_t> order(static_cast<size_t>(n));
      for (int64_t line = begin; line < end; ++line) {
        const W* values = from.data<W>() + line * n;
        std::iota(order.begin(), order.end(), int64_t{0});
        std::partial_sort(order.begin(), order.begin() + k, order.end(), [=](int64_t a, int64_t b) {
          const W u = values[a], v = values[b];
          if (largest ? is_larger(u, v) : is_larger(v, u)) return true;
          return !(largest ? is_larger(v, u) : is_larger(u, v)) && a < b;
        });
        std::copy_n(order.begin(), k, to + line * k);
      }
    });
  });
}

}  // namespace thimble::kernels
