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

// The first of 16 bytes; none behind them are read.
void copy_short(const uint8_t* from, int64_t count, uint8_t* to) {
  if (count == kColumns)
    std::memcpy(to, from, kColumns);
  else
    std::memcpy(to, from, static_cast<size_t>(count));
}

// Fewer rows or columns.
void pack_some_rows(const uint8_t* b, int64_t row, int64_t rows, int64_t columns, int8_t* group) {
  uint8_t copy[kGroupBytes] = {};
  for (int64_t i = 0; i < rows; ++i) copy_short(b + i * row, columns, copy + i * kColumns);
  pack_rows(copy, kColumns, group);
}

// Any number of dense columns of a group's rows.
void pack_some_columns(const uint8_t* b, int64_t column, int64_t rows, int64_t columns, int8_t* group) {
  for (int64_t j = 0; j < columns; ++j) {
    uint32_t four = 0x80808080;
    if (rows == kGroup)
      std::memcpy(&four, b + j * column, kGroup);
    else
      std::memcpy(&four, b + j * column, static_cast<size_t>(rows));
    four ^= 0x80808080;
    std::memcpy(group + j * kGroup, &four, kGroup);
  }
}

// Elements that lie anyhow.
void pack_scattered(const uint8_t* b, int64_t row, int64_t column, int64_t rows, int64_t columns, int8_t* group) {
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j)
      group[j * kGroup + i] = static_cast<int8_t>(b[i * row + j * column] ^ uint8_t{128});
}

// A panel of so many columns.
void pack_panel(const uint8_t* b, int64_t row, int64_t column, int64_t rows, int64_t columns, int8_t* panel) {
  constexpr int64_t kRows = 16;  // of a block of dense columns
  const bool is_whole = columns == kColumns;
  int64_t i = 0;
  if (is_whole && column == 1) {
    for (; i + kGroup <= rows; i += kGroup) pack_rows(b + i * row, row, panel + i * kColumns);
  } else if (is_whole && row == 1) {
    for (; i + kRows <= rows; i += kRows)
      for (int64_t j = 0; j < kColumns; j += 4)
        pack_columns(b + i + j * column, column, panel + i * kColumns + j * kGroup);
  }
  for (; i < rows; i += kGroup) {
    const uint8_t* from = b + i * row;
    int8_t* group = panel + i * kColumns;
    const int64_t count = std::min(kGroup, rows - i);
    if (column == 1) {
      pack_some_rows(from, row, count, columns, group);
    } else {
      if (!is_whole || count < kGroup) std::memset(group, 0, kGroupBytes);
      if (row == 1)
        pack_some_columns(from, column, count, columns, group);
      else
        pack_scattered(from, row, column, count, columns, group);
    }
  }
}

}  // namespace

void pack_int8_panels(const uint8_t* b, int64_t row, int64_t column, const Int8Panels& size, int8_t* panels) {
  for (int64_t p = 0; p < size.count(); ++p, b += kColumns * column, panels += size.stride())
    pack_panel(b, row, column, size.k, std::min(kColumns, size.n - p * kColumns), panels);
  std::memset(panels, 0, static_cast<size_t>(PackedInt8Weights::kSlack));
}

}  // namespace thimble::kernels
