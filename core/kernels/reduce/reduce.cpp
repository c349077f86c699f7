#include <algorithm>
#include <array>

#include <thimble/core/kernels/elementwise/strided_dims.h>
#include <thimble/core/kernels/reduce/reduce.h>
#include <thimble/core/kernels/reduce/reduce_run.h>
#include <thimble/core/kernels/reduce/shards.h>
#include <thimble/core/kernels/rounding.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {

// Elements that are worth handing to another thread.
constexpr int64_t kGrain = 65536;
// When reduced dimensions lie outside of kept ones, whole rows are added: this many columns at a time, which stay in
// registers and first-level cache, and this many rows in one loop.
constexpr int64_t kTileColumns = 256;
constexpr int64_t kLeafRows = 32;
// Of a matrix that is taller than wide, its rows are divided among at most this many parts.
constexpr int64_t kMostParts = 64;

// Combines results of R.
template <typename R, typename T>
struct Partial : R {
  static T map(T value, T) { return value; }
};

// One output: runs number [begin, end) of the reduced dimensions, combined by halves.
template <typename R, typename T>
T reduce_runs(const T* x, const StridedDims& outer, StridedDims::Loop run, T center, int64_t begin, int64_t end) {
  if (end - begin == 1) return reduce_run<R>(x + outer.offset(begin), run.size, run.stride, center);
  const int64_t middle = begin + (end - begin) / 2;
  return R::combine(reduce_runs<R>(x, outer, run, center, begin, middle),
                    reduce_runs<R>(x, outer, run, center, middle, end));
}

// A tile of dense outputs: rows [begin, end) of the reduced dimensions, combined by halves.
template <typename R, typename T>
void reduce_rows(const T* x, const StridedDims& reduced, const T* centers, int64_t columns, int64_t begin, int64_t end,
                 T* out) {
  if (end - begin > kLeafRows) {
    const int64_t middle = begin + (end - begin) / 2;
    std::array<T, kTileColumns> second;
    reduce_rows<R>(x, reduced, centers, columns, begin, middle, out);
    reduce_rows<R>(x, reduced, centers, columns, middle, end, second.data());
    for (int64_t j = 0; j < columns; ++j) out[j] = R::combine(out[j], second[j]);
    return;
  }
  std::fill_n(out, columns, R::identity());
  for (int64_t r = begin; r < end; ++r) {
    const T* row = x + reduced.offset(r);
    for (int64_t j = 0; j < columns; ++j) out[j] = R::combine(out[j], R::map(row[j], centers[j]));
  }
}

// Everything reduced to one number: equal parts in parallel, then the parts.
template <typename R, typename T>
T reduce_all_dense(const T* x, int64_t n, T center) {
  const int64_t parts = n / kGrain;
  if (parts < 2) return reduce_run<R>(x, n, 1, center);
  NDArray results({parts}, dtype_of<T>);
  T* result = results.data<T>();
  parallel_for(parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p)
      result[p] = reduce_run<R>(x + p * kGrain, p + 1 < parts ? kGrain : n - p * kGrain, 1, center);
  });
  return reduce_run<Partial<R, T>>(result, parts, 1, T{0});
}

// Each output by itself, from runs of the innermost reduced dimension.
template <typename R, typename T>
void reduce_each(const T* x, const StridedDims& kept, StridedDims reduced, const T* centers, T* out) {
  const int64_t terms = reduced.sizes.numel();
  const StridedDims::Loop run = reduced.take_inner();
  parallel_for(kept.sizes.numel(), std::max<int64_t>(1, kGrain / terms), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      out[i] = reduce_runs<R>(x + kept.offset(i), reduced, run, centers ? centers[i] : T{0}, 0, terms / run.size);
  });
}

// Outputs that lie side by side in x, a tile at a time.
template <typename R, typename T>
void reduce_columns(const T* x, StridedDims kept, const StridedDims& reduced, const T* centers, T* out) {
  const int64_t terms = reduced.sizes.numel(), columns = kept.take_inner().size;
  const int64_t tiles = ceil_div(columns, kTileColumns);
  const int64_t grain = kGrain / (terms * std::min(columns, kTileColumns));
  const T no_centers[kTileColumns] = {};
  parallel_for(kept.sizes.numel() * tiles, std::max<int64_t>(1, grain), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t row = t / tiles, column = t % tiles * kTileColumns, i = row * columns + column;
      reduce_rows<R>(x + kept.offset(row) + column, reduced, centers ? centers + i : no_centers,
                     std::min(kTileColumns, columns - column), 0, terms, out + i);
    }
  });
}

// The few columns of a tall matrix, all of whose elements lie side by side (the channels of channels-last images):
// several rows taken as one that fills vectors, and the rows divided among threads.
template <typename R, typename T>
void reduce_tall(const T* x, int64_t columns, int64_t rows, const T* centers, T* out) {
  const int64_t repeats = kTileColumns / columns, width = repeats * columns, wide_rows = rows / repeats;
  // As many parts whatever the number of threads, so that the result does not depend on it.
  const int64_t parts = std::clamp<int64_t>(wide_rows * width / kGrain, 1, kMostParts);
  std::array<T, kTileColumns> wide_centers{};
  if (centers)
    for (int64_t j = 0; j < width; ++j) wide_centers[j] = centers[j % columns];
  NDArray results({parts, width}, dtype_of<T>);
  T* result = results.data<T>();
  StridedDims reduced;
  reduced.add(wide_rows, width);
  parallel_for(parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p)
      reduce_rows<R>(x, reduced, wide_centers.data(), width, wide_rows * p / parts, wide_rows * (p + 1) / parts,
                     result + p * width);
  });
  for (int64_t j = 0; j < columns; ++j) {
    out[j] = reduce_run<Partial<R, T>>(result + j, parts * repeats, columns, T{0});
    const T center = centers ? centers[j] : T{0};
    for (int64_t r = wide_rows * repeats; r < rows; ++r)
      out[j] = R::combine(out[j], R::map(x[r * columns + j], center));
  }
}

template <typename R, typename T>
void reduce(const T* x, const StridedDims& kept, const StridedDims& reduced, const T* centers, T* out) {
  const int64_t outputs = kept.sizes.numel(), terms = reduced.sizes.numel();
  const StridedDims::Loop run = StridedDims(reduced).take_inner();
  const bool dense_runs = run.stride == 1 && run.size > 1;
  if (outputs == 0 || terms == 0) {
    std::fill_n(out, outputs, R::identity());
  } else if (outputs == 1 && dense_runs && run.size == terms) {
    out[0] = reduce_all_dense<R>(x, terms, centers ? centers[0] : T{0});
  } else if (kept.sizes.ndim() == 1 && kept.strides[0] == 1 && outputs <= kTileColumns / 2 &&
             reduced.sizes.ndim() == 1 && run.stride == outputs && terms * outputs >= kGrain) {
    reduce_tall<R>(x, outputs, terms, centers, out);
  } else if (!dense_runs && !kept.sizes.empty() && kept.strides.back() == 1) {
    reduce_columns<R>(x, kept, reduced, centers, out);
  } else {
    reduce_each<R>(x, kept, reduced, centers, out);
  }
}

StridedDims kept_dims(const NDArray& x, const Shape& axes) {
  StridedDims kept;
  for (int d = 0; d < x.ndim(); ++d)
    if (std::find(axes.begin(), axes.end(), d) == axes.end()) kept.add(x.shape(d), x.strides()[d]);
  return kept;
}

// Terms may come in any order: that of memory is the fastest.
StridedDims reduced_dims(const NDArray& x, const Shape& axes) {
  StridedDims reduced;
  Shape by_stride = axes;
  std::stable_sort(by_stride.begin(), by_stride.end(), [&](int64_t a, int64_t b) {
    return x.strides()[static_cast<int>(a)] > x.strides()[static_cast<int>(b)];
  });
  for (int64_t d : by_stride) reduced.add(x.shape(static_cast<int>(d)), x.strides()[static_cast<int>(d)]);
  return reduced;
}

template <template <typename> typename R>
void reduce(const NDArray& x, const Shape& axes, const NDArray* centers, NDArray& out) {
  const StridedDims kept = kept_dims(x, axes), reduced = reduced_dims(x, axes);
  dispatch_float(x.dtype(), "reduce", [&](auto tag) {
    using T = typename decltype(tag)::type;
    reduce<R<T>, T>(x.data<T>(), kept, reduced, centers ? centers->data<T>() : nullptr, out.data<T>());
  });
}

template <typename T>
void add_to(T* to, const T* from, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] += from[i];
}

// Rows whose elements lie side by side, `rows` of each sample: the whole tree, a tile of columns at a time.
template <typename T>
void sum_rows_in_shards(const T* x, const StridedDims& reduced, const Shards& shards, int64_t rows, int64_t columns,
                        T* out) {
  const int64_t grain = kGrain / (reduced.sizes.numel() * std::min(columns, kTileColumns));
  const T no_centers[kTileColumns] = {};
  parallel_for(ceil_div(columns, kTileColumns), std::max<int64_t>(1, grain), [&](int64_t begin, int64_t end) {
    std::array<T, kTileColumns> waiting[Shards::kLevels - 1];
    for (int64_t column = begin * kTileColumns; column < std::min(columns, end * kTileColumns);
         column += kTileColumns) {
      const int64_t width = std::min(kTileColumns, columns - column);
      const auto sums = [&](int level) { return level == 0 ? out + column : waiting[level - 1].data(); };
      shards.add_up(
          [&](int64_t shard, int level) {
            reduce_rows<reducers::Sum<T>>(x + column, reduced, no_centers, width, shards.begin(shard) * rows,
                                          shards.end(shard) * rows, sums(level));
          },
          [&](int level) { add_to(sums(level), sums(level + 1), width); });
    }
  });
}

// Shards one after the other, each reduced like any array.
template <typename T>
void sum_shard_by_shard(const NDArray& x, const Shape& axes, const Shards& shards, NDArray& out) {
  const NDArray others({Shards::kLevels - 1, out.numel()}, out.dtype());
  const auto sums = [&](int level) {
    return level == 0 ? out : others.slice(0, level - 1, level).reshape(out.shape());
  };
  shards.add_up(
      [&](int64_t shard, int level) {
        NDArray to = sums(level);
        reduce_sum(x.slice(0, shards.begin(shard), shards.end(shard)), axes, to);
      },
      [&](int level) {
        NDArray to = sums(level);
        const NDArray from = sums(level + 1);
        parallel_for(out.numel(), kGrain, [to = to.data<T>(), from = from.data<T>()](int64_t begin, int64_t end) {
          add_to(to + begin, from + begin, end - begin);
        });
      });
}

}  // namespace

void reduce_sum_over_batch(const NDArray& x, const Shape& axes, NDArray& out) {
  const Shards shards(x.ndim() > 0 ? x.shape(0) : 0);
  if (axes.empty() || axes[0] != 0 || shards.count() < 2 || x.numel() == 0) return reduce_sum(x, axes, out);
  const StridedDims kept = kept_dims(x, axes), reduced = reduced_dims(x, axes);
  const int64_t columns = out.numel(), terms = reduced.sizes.numel(), rows = terms / x.shape(0);
  const bool batch_is_outermost =
      std::ranges::all_of(axes, [&](int64_t d) { return x.strides()[static_cast<int>(d)] <= x.strides()[0]; });
  const bool are_rows = kept.sizes.ndim() == 1 && kept.strides[0] == 1 && reduced.sizes.ndim() == 1 &&
                        reduced.strides[0] != 1 && batch_is_outermost;
  const bool are_tall = columns <= kTileColumns / 2 && shards.size() * rows * columns >= kGrain;
  dispatch_float(x.dtype(), "reduce", [&](auto tag) {
    using T = typename decltype(tag)::type;
    if (are_rows && !are_tall)
      sum_rows_in_shards(x.data<T>(), reduced, shards, rows, columns, out.data<T>());
    else
      sum_shard_by_shard<T>(x, axes, shards, out);
  });
}

void reduce_sum(const NDArray& x, const Shape& axes, NDArray& out) { reduce<reducers::Sum>(x, axes, nullptr, out); }
void reduce_max(const NDArray& x, const Shape& axes, NDArray& out) { reduce<reducers::Max>(x, axes, nullptr, out); }
void reduce_min(const NDArray& x, const Shape& axes, NDArray& out) { reduce<reducers::Min>(x, axes, nullptr, out); }

void reduce_squared_deviations(const NDArray& x, const Shape& axes, const NDArray& centers, NDArray& out) {
  reduce<reducers::SquaredDeviations>(x, axes, &centers, out);
}

void reduce_exponentials(const NDArray& x, const Shape& axes, const NDArray& centers, NDArray& out) {
  reduce<reducers::Exponentials>(x, axes, &centers, out);
}

}  // namespace thimble::kernels
