#include <algorithm>
#include <cstring>

#include <thimble/core/kernels/int8/int8_panels.h>
#include <thimble/core/kernels/vectors.h>

namespace thimble::kernels {

namespace {

constexpr int64_t kColumns = PackedInt8Weights::kPanel, kGroup = 4, kGroupBytes = kColumns * kGroup;

using Bytes = Vector<uint8_t, 16>;
using Pairs = Vector<uint16_t, 8>;
using Fours = Vector<uint32_t, 4>;
using Eights = Vector<uint64_t, 2>;

// What lies in 16 bytes, 128 less each.
Bytes load_signed(const uint8_t* p) {
  return load<16>(p) ^ uint8_t { 128 };
}

template <typename To, typename From>
To as(const From& v) {
  return __builtin_bit_cast(To, v);
}

// The elements of the lower, or upper, halves of two vectors in turns.
Bytes low(Bytes a, Bytes b) {
  return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
Bytes high(Bytes a, Bytes b) {
  return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}
Pairs low(Pairs a, Pairs b) { return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11); }
Pairs high(Pairs a, Pairs b) { return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15); }
Fours low(Fours a, Fours b) { return __builtin_shufflevector(a, b, 0, 4, 1, 5); }
Fours high(Fours a, Fours b) { return __builtin_shufflevector(a, b, 2, 6, 3, 7); }
Eights low(Eights a, Eights b) { return __builtin_shufflevector(a, b, 0, 2); }
Eights high(Eights a, Eights b) { return __builtin_shufflevector(a, b, 1, 3); }

// 4 dense rows of 16 columns.
void pack_rows(const uint8_t* b, int64_t row, int8_t* group) {
  const Bytes r0 = load_signed(b), r1 = load_signed(b + row), r2 = load_signed(b + 2 * row),
              r3 = load_signed(b + 3 * row);
  const auto first = as<Pairs>(low(r0, r1)), second = as<Pairs>(low(r2, r3));
  const auto third = as<Pairs>(high(r0, r1)), fourth = as<Pairs>(high(r2, r3));
  store(group, low(first, second));
  store(group + 16, high(first, second));
  store(group + 32, low(third, fourth));
  store(group + 48, high(third, fourth));
}

// 16 rows of 4 dense columns: a quarter of 4 groups.
void pack_columns(const uint8_t* b, int64_t column, int8_t* groups) {
  const auto c0 = as<Fours>(load_signed(b)), c1 = as<Fours>(load_signed(b + column)),
             c2 = as<Fours>(load_signed(b + 2 * column)), c3 = as<Fours>(load_signed(b + 3 * column));
  const auto first = as<Eights>(low(c0, c1)), second = as<Eights>(low(c2, c3));
  const auto third = as<Eights>(high(c0, c1)), fourth = as<Eights>(high(c2, c3));
  store(groups, low(first, second));
  store(groups + kGroupBytes, high(first, second));
  store(groups + 2 * kGroupBytes, low(third, fourth));
  store(groups + 3 * kGroupBytes, high(third, fourth));
}

// Rows [begin, end) of a panel's columns, of any number and anyhow. begin begins a group.
void pack_rest(const uint8_t* b, int64_t row, int64_t column, int64_t columns, int64_t begin, int64_t end,
               int8_t* panel) {
  std::fill_n(panel + begin / kGroup * kGroupBytes, (end - begin + kGroup - 1) / kGroup * kGroupBytes, int8_t{0});
  for (int64_t i = begin; i < end; ++i)
    for (int64_t j = 0; j < columns; ++j)
      panel[i / kGroup * kGroupBytes + j * kGroup + i % kGroup] =
          static_cast<int8_t>(b[i * row + j * column] ^ uint8_t{128});
}

}  // namespace

void pack_int8_panels(const uint8_t* b, int64_t row, int64_t column, const Int8Panels& size, int8_t* panels) {
  constexpr int64_t kRows = 16;  // of a block of dense columns
  for (int64_t p = 0; p < size.count(); ++p, b += kColumns * column, panels += size.stride()) {
    const int64_t columns = std::min(kColumns, size.n - p * kColumns);
    int64_t i = 0;
    if (columns == kColumns && column == 1) {
      for (; i + kGroup <= size.k; i += kGroup) pack_rows(b + i * row, row, panels + i * kColumns);
    } else if (columns == kColumns && row == 1) {
      for (; i + kRows <= size.k; i += kRows)
        for (int64_t j = 0; j < kColumns; j += 4)
          pack_columns(b + i + j * column, column, panels + i * kColumns + j * kGroup);
    }
    pack_rest(b, row, column, columns, i, size.k, panels);
  }
  std::memset(panels, 0, static_cast<size_t>(PackedInt8Weights::kSlack));
}

}  // namespace thimble::kernels
