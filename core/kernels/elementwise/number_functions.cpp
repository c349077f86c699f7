#include <thimble/core/kernels/elementwise/number_functions.h>
#include <thimble/core/kernels/elementwise/strided.h>

namespace thimble::kernels {

namespace {

// A call takes as long as several elements of an addition.
constexpr int64_t kGrainOfCalls = kElementwiseGrain / 8;

}  // namespace

void map_numbers(NumberFunction function, const NDArray& x, NDArray& out, double p0, double p1) {
  const StridedPlan<2> plan(out.shape(), {&x.strides(), &out.strides()});
  dispatch_float(out.dtype(), "map", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* from = x.data<T>();
    T* to = out.data<T>();
    plan.for_each_row(kGrainOfCalls, [&](const std::array<int64_t, 2>& at, int64_t n) {
      for (int64_t i = 0; i < n; ++i)
        to[at[1] + i * plan.inner(1)] =
            static_cast<T>(function(static_cast<double>(from[at[0] + i * plan.inner(0)]), p0, p1));
    });
  });
}

void map_pairs(PairFunction function, const NDArray& a, const NDArray& b, NDArray& out) {
  const NDArray wide_a = a.broadcast_to(out.shape()), wide_b = b.broadcast_to(out.shape());
  const StridedPlan<3> plan(out.shape(), {&wide_a.strides(), &wide_b.strides(), &out.strides()});
  dispatch_float(out.dtype(), "map", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T *left = wide_a.data<T>(), *right = wide_b.data<T>();
    T* to = out.data<T>();
    plan.for_each_row(kGrainOfCalls, [&](const std::array<int64_t, 3>& at, int64_t n) {
      for (int64_t i = 0; i < n; ++i)
        to[at[2] + i * plan.inner(2)] = static_cast<T>(function(static_cast<double>(left[at[0] + i * plan.inner(0)]),
                                                                static_cast<double>(right[at[1] + i * plan.inner(1)])));
    });
  });
}

}  // namespace thimble::kernels
