#include <algorithm>
#include <array>
#include <utility>

#include <thimble/core/kernels/elementwise/bag_entries.h>
#include <thimble/core/kernels/elementwise/long_sums.h>

namespace thimble::kernels {

namespace {

// Columns whose sums are kept at hand while a bag's rows go by.
constexpr int64_t kBagColumns = 64;

template <typename Sum, typename T, typename Entries>
void sum_bag(const T* weight, const Entries& entries, const T* scales, bool mean, int64_t bag, int64_t columns,
             T* out) {
  const int64_t begin = entries.begin(bag), end = entries.end(bag);
  const Sum divisor = mean ? static_cast<Sum>(std::max<int64_t>(1, entries.counted(bag))) : Sum{1};
  for (int64_t first = 0; first < columns; first += kBagColumns) {
    const int64_t n = std::min(kBagColumns, columns - first);
    std::array<Sum, kBagColumns> sums{};
    for (int64_t i = begin; i < end; ++i) {
      if (!entries.counts(i)) continue;
      const T* row = weight + entries.row(i) * columns + first;
      const Sum scale = scales ? static_cast<Sum>(scales[i]) : Sum{1};
      for (int64_t c = 0; c < n; ++c) sums[static_cast<size_t>(c)] += scale * static_cast<Sum>(row[c]);
    }
    for (int64_t c = 0; c < n; ++c) out[first + c] = static_cast<T>(sums[static_cast<size_t>(c)] / divisor);
  }
}

template <typename T, typename Entries>
void largest_of_bag(const T* weight, const Entries& entries, int64_t bag, int64_t columns, T* out, int64_t* rows) {
  std::fill_n(out, columns, T{0});
  if (rows) std::fill_n(rows, columns, int64_t{-1});
  bool is_first = true;
  for (int64_t i = entries.begin(bag); i < entries.end(bag); ++i) {
    if (!entries.counts(i)) continue;
    const T* row = weight + entries.row(i) * columns;
    for (int64_t c = 0; c < columns; ++c) {
      if (!is_first && !(row[c] > out[c])) continue;
      out[c] = row[c];
      if (rows) rows[c] = entries.row(i);
    }
    is_first = false;
  }
}

template <typename T>
const T* scales_of(const NDArray& scales) {
  return scales.defined() ? scales.data<T>() : nullptr;
}

}  // namespace

void embedding_bag_sum(const NDArray& weight, const Bags& bags, const NDArray& scales, bool mean, NDArray& out) {
  const int64_t columns = weight.shape(1);
  dispatch_float(weight.dtype(), "embedding_bag", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T *table = weight.data<T>(), *factors = scales_of<T>(scales);
    T* y = out.data<T>();
    with_entries(bags, [&](const auto& entries) {
      for_each_bag(bags, columns, [&](int64_t bag) {
        const bool is_long = entries.end(bag) - entries.begin(bag) > kMostFloatTerms;
        T* sums = y + bag * columns;
        if (is_long)
          sum_bag<double>(table, entries, factors, mean, bag, columns, sums);
        else
          sum_bag<T>(table, entries, factors, mean, bag, columns, sums);
      });
    });
  });
}

void embedding_bag_max(const NDArray& weight, const Bags& bags, NDArray& out, NDArray* rows) {
  const int64_t columns = weight.shape(1);
  dispatch_float(weight.dtype(), "embedding_bag", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* table = weight.data<T>();
    T* y = out.data<T>();
    int64_t* which = rows ? rows->data<int64_t>() : nullptr;
    with_entries(bags, [&](const auto& entries) {
      for_each_bag(bags, columns, [&](int64_t bag) {
        largest_of_bag(table, entries, bag, columns, y + bag * columns, which ? which + bag * columns : nullptr);
      });
    });
  });
}

void embedding_bag_add(const NDArray& grad, const Bags& bags, const NDArray& scales, bool mean, NDArray& out) {
  const int64_t columns = grad.shape(1), entries_in_all = std::max<int64_t>(1, bags.index.numel());
  const NDArray factors_wide = scales.defined() ? scales.to(DType::float64) : NDArray();
  const double* factors = scales_of<double>(factors_wide);
  const bool widen = most_repeats(bags.index, out.shape(0), bags.padding) > kMostFloatTerms;
  add_to_sums(grad, out, widen, [&](const auto* source, auto* target) {
    using Sum = std::remove_cvref_t<decltype(*target)>;
    with_entries(bags, [&](const auto& entries) {
      // Threads divide the columns, never the entries, so that each sum has one order.
      parallel_for(columns, std::max<int64_t>(1, kElementwiseGrain / entries_in_all), [&](int64_t from, int64_t to) {
        for (int64_t bag = 0; bag < bags.count; ++bag) {
          const auto* g = source + bag * columns;
          const double part = mean ? 1.0 / static_cast<double>(std::max<int64_t>(1, entries.counted(bag))) : 1.0;
          for (int64_t i = entries.begin(bag); i < entries.end(bag); ++i) {
            if (!entries.counts(i)) continue;
            Sum* sum = target + entries.row(i) * columns;
            const auto scale = static_cast<Sum>(factors ? factors[i] * part : part);
            for (int64_t c = from; c < to; ++c) sum[c] += scale * static_cast<Sum>(g[c]);
          }
        }
      });
    });
  });
}

void embedding_bag_dots(const NDArray& grad, const NDArray& weight, const Bags& bags, NDArray& out) {
  const int64_t columns = weight.shape(1);
  dispatch_float(weight.dtype(), "embedding_bag", [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T *g = grad.data<T>(), *table = weight.data<T>();
    T* dots = out.data<T>();
    with_entries(bags, [&](const auto& entries) {
      for_each_bag(bags, columns, [&](int64_t bag) {
        for (int64_t i = entries.begin(bag); i < entries.end(bag); ++i) {
          const T *row = table + entries.row(i) * columns, *other = g + bag * columns;
          double dot = 0;
          for (int64_t c = 0; entries.counts(i) && c < columns; ++c)
            dot += static_cast<double>(row[c]) * static_cast<double>(other[c]);
          dots[i] = static_cast<T>(dot);
        }
      });
    });
  });
}

}  // namespace thimble::kernels
