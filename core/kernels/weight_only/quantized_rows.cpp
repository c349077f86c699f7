#include <algorithm>
#include <array>

#include <thimble/core/kernels/elementwise/bag_entries.h>
#include <thimble/core/kernels/elementwise/long_sums.h>
#include <thimble/core/kernels/kernel_list.h>
#include <thimble/core/kernels/weight_only/bit_packing.h>
#include <thimble/core/kernels/weight_only/quantized_row_kernels.h>
#include <thimble/core/kernels/weight_only/quantized_rows.h>

namespace thimble::kernels {

namespace {

constexpr KernelOf<const QuantizedRowKernels*> kRowKernels[] = {THIMBLE_X86_KERNELS(
    {Isa::avx512, &quantized_rows_avx512}, {Isa::avx2, &quantized_rows_avx2}){Isa::scalar, &quantized_rows_scalar}};

// Columns that are unpacked and added at a time. A multiple of 8, so that each part begins with a byte.
constexpr int64_t kPart = 512;
// Rows lie anywhere: those of the next entries are asked for early.
constexpr int64_t kRowsAhead = 4, kCacheLine = 64, kMostLinesAhead = 16;

class RowReader {
 public:
  explicit RowReader(const QuantizedRows& table)
      : table_(table), row_bytes_(packed_bytes(table.columns, table.bits)), kernels_(*best_kernel<kRowKernels>()) {}

  const QuantizedRowKernels& kernels() const { return kernels_; }

  /// Calls f(first column, columns) for parts of a row.
  template <typename F>
  void for_each_part(F&& f) const {
    for (int64_t first = 0; first < table_.columns; first += kPart) f(first, std::min(kPart, table_.columns - first));
  }

  /// `bytes` is memory for integers of other than 8 bits.
  QuantizedRow row(int64_t r, int64_t first, int64_t n, uint8_t* bytes) const {
    const uint8_t* packed = table_.values + r * row_bytes_ + first * table_.bits / 8;
    const int32_t zero_point = table_.zero_point ? table_.zero_point[r] : 1 << (table_.bits - 1);
    const QuantizedRow row{bytes, static_cast<uint8_t>(table_.is_signed ? 0x80 : 0), zero_point, table_.scale[r]};
    if (table_.bits == 8) return {packed, row.flip, row.zero_point, row.scale};
    if (table_.bits == 4)
      kernels_.unpack4(packed, n, bytes);
    else
      unpack_bits(packed, n, table_.bits, bytes);
    return row;
  }

  template <typename Entries>
  void ask_for(const Entries& entries, int64_t entry) const {
    if (entry >= entries.entries()) return;
    const int64_t r = entries.row(entry);
    const uint8_t* bytes = table_.values + r * row_bytes_;
    for (int64_t b = 0; b < std::min(row_bytes_, kMostLinesAhead * kCacheLine); b += kCacheLine)
      __builtin_prefetch(bytes + b);
    __builtin_prefetch(table_.scale + r);
    if (table_.zero_point) __builtin_prefetch(table_.zero_point + r);
  }

 private:
  QuantizedRows table_;
  int64_t row_bytes_;
  const QuantizedRowKernels& kernels_;
};

using Bytes = std::array<uint8_t, kPart>;

// Calls f(entry, row) for the entries of a bag that count.
template <typename Entries, typename F>
void for_each_row(const RowReader& reader, const Entries& entries, int64_t bag, int64_t first, int64_t n, F&& f) {
  Bytes bytes;
  for (int64_t i = entries.begin(bag); i < entries.end(bag); ++i) {
    if (first == 0) reader.ask_for(entries, i + kRowsAhead);
    if (entries.counts(i)) f(i, reader.row(entries.row(i), first, n, bytes.data()));
  }
}

// In parts of the sums, which are few enough to stay at hand.
template <typename Sum, typename Add, typename Entries>
void sum_of_bag(const RowReader& reader, Add add, const Entries& entries, const float* scales, bool mean, int64_t bag,
                float* out) {
  const Sum divisor = mean ? static_cast<Sum>(std::max<int64_t>(1, entries.counted(bag))) : Sum{1};
  reader.for_each_part([&](int64_t first, int64_t n) {
    std::array<Sum, kPart> sums;
    std::fill_n(sums.begin(), n, Sum{0});
    for_each_row(reader, entries, bag, first, n,
                 [&](int64_t i, const QuantizedRow& row) { add(row, n, scales ? scales[i] : 1.0f, sums.data()); });
    for (int64_t c = 0; c < n; ++c) out[first + c] = static_cast<float>(sums[static_cast<size_t>(c)] / divisor);
  });
}

}  // namespace

void quantized_rows(const QuantizedRows& table, const Bags& bags, NDArray& out) {
  auto* y = out.data<float>();
  const RowReader reader(table);
  const int64_t count = bags.index.numel();
  with_entries(bags, [&](const auto& entries) {
    parallel_for(count, std::max<int64_t>(1, kElementwiseGrain / table.columns), [&](int64_t from, int64_t to) {
      Bytes bytes;
      for (int64_t i = from; i < to; ++i) {
        reader.ask_for(entries, i + kRowsAhead);
        reader.for_each_part([&](int64_t first, int64_t n) {
          reader.kernels().copy(reader.row(entries.row(i), first, n, bytes.data()), n, y + i * table.columns + first);
        });
      }
    });
  });
}

void quantized_bag_sum(const QuantizedRows& table, const Bags& bags, const NDArray& scales, bool mean, NDArray& out) {
  auto* y = out.data<float>();
  const float* factors = scales.defined() ? scales.data<float>() : nullptr;
  const RowReader reader(table);
  with_entries(bags, [&](const auto& entries) {
    for_each_bag(bags, table.columns, [&](int64_t bag) {
      float* sums = y + bag * table.columns;
      if (entries.end(bag) - entries.begin(bag) > kMostFloatTerms)
        sum_of_bag<double>(reader, reader.kernels().add_wide, entries, factors, mean, bag, sums);
      else
        sum_of_bag<float>(reader, reader.kernels().add, entries, factors, mean, bag, sums);
    });
  });
}

void quantized_bag_max(const QuantizedRows& table, const Bags& bags, NDArray& out) {
  auto* y = out.data<float>();
  const RowReader reader(table);
  with_entries(bags, [&](const auto& entries) {
    for_each_bag(bags, table.columns, [&](int64_t bag) {
      reader.for_each_part([&](int64_t first, int64_t n) {
        float* largest = y + bag * table.columns + first;
        std::fill_n(largest, n, 0.0f);
        auto take = reader.kernels().copy;  // of the first row
        for_each_row(reader, entries, bag, first, n, [&](int64_t, const QuantizedRow& row) {
          take(row, n, largest);
          take = reader.kernels().largest;
        });
      });
    });
  });
}

}  // namespace thimble::kernels
