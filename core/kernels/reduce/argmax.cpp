#include <algorithm>
#include <type_traits>

#include <thimble/core/kernels/elementwise/strided_dims.h>
#include <thimble/core/kernels/reduce/argmax.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {

constexpr int64_t kGrain = 16384;

template <typename T>
int64_t first_extreme(const T* x, int64_t n, int64_t stride, bool smallest) {
  using Ordered = std::conditional_t<is_16_bit_float<T>, float, T>;
  int64_t best = 0;
  Ordered extreme = static_cast<Ordered>(x[0]);
  for (int64_t i = 1; i < n && extreme == extreme; ++i) {
    const Ordered value = static_cast<Ordered>(x[i * stride]);
    if ((smallest ? value < extreme : value > extreme) || value != value) {
      extreme = value;
      best = i;
    }
  }
  return best;
}

}  // namespace

void argmax(const NDArray& x, int axis, NDArray& out, Extreme extreme) {
  StridedDims kept;
  for (int d = 0; d < x.ndim(); ++d)
    if (d != axis) kept.add(x.shape(d), x.strides()[d]);
  const int64_t n = x.shape(axis), stride = x.strides()[axis];
  const int64_t start = extreme.last ? (n - 1) * stride : 0, step = extreme.last ? -stride : stride;
  int64_t* index = out.data<int64_t>();
  dispatch(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* data = x.data<T>();
    parallel_for(out.numel(), std::max<int64_t>(1, kGrain / n), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t found = first_extreme(data + kept.offset(i) + start, n, step, extreme.smallest);
        index[i] = extreme.last ? n - 1 - found : found;
      }
    });
  });
}

}  // namespace thimble::kernels
