// Copying a matrix whose columns lie dense to one whose rows do.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace thimble::kernels {

/// out[r * out_step + c] = in[c * in_step + r], for all r < rows, c < columns.
template <typename T>
struct Transpose {
  const T* in;
  int64_t in_step;
  T* out;
  int64_t out_step;

  void run(int64_t rows, int64_t columns) const {
    if (columns == 2 && out_step == 2) return interleave_two(rows);
    for (int64_t r = 0; r < rows; r += kBlock)
      for (int64_t c = 0; c < columns; c += kBlock)
        run_block(r, std::min(r + kBlock, rows), c, std::min(c + kBlock, columns));
  }

 private:
  // A block's cache lines, on both sides, stay in the first level cache while each is used several times.
  static constexpr int64_t kBlock = 64;
  static constexpr int64_t kTile = sizeof(T) == 1 ? 8 : 4;
  typedef uint8_t Bytes __attribute__((vector_size(16)));
  typedef uint32_t Vector __attribute__((vector_size(16)));

  void run_block(int64_t row, int64_t row_end, int64_t column, int64_t column_end) const {
    // The side whose lines lie further apart is walked along them: parts of many lines may share a place in the cache.
    const int64_t rows = out_step > in_step ? kTile : kBlock;
    for (; row < row_end; row += rows) run_rows(row, std::min(row + rows, row_end), column, column_end);
  }

  void run_rows(int64_t row, int64_t row_end, int64_t column, int64_t column_end) const {
    for (; column + kTile <= column_end; column += kTile) run_columns<kTile>(row, row_end, column);
    if constexpr (kTile > 4)
      for (; column + 4 <= column_end; column += 4) run_columns<4>(row, row_end, column);
    switch (column_end - column) {
      case 3:
        return run_columns<3>(row, row_end, column);
      case 2:
        return run_columns<2>(row, row_end, column);
      case 1:
        return run_columns<1>(row, row_end, column);
      default:
        return;
    }
  }

  template <int kColumns>
  void run_columns(int64_t row, int64_t row_end, int64_t column) const {
    if constexpr (kColumns == kTile && sizeof(T) == 1)
      for (; row + kTile <= row_end; row += kTile) run_byte_tile(row, column);
    if constexpr (kColumns == kTile && sizeof(T) == sizeof(uint32_t))
      for (; row + kTile <= row_end; row += kTile) run_tile(row, column);
    if constexpr (kColumns == 3 && sizeof(T) == sizeof(uint32_t))
      for (; out_step == 3 && row + kTile <= row_end; row += kTile) interleave(row);
    for (; row < row_end; ++row)
      for (int c = 0; c < kColumns; ++c) out[row * out_step + column + c] = in[(column + c) * in_step + row];
  }

  // 4 x 4 in registers.
  void run_tile(int64_t row, int64_t column) const {
    const T* from = in + column * in_step + row;
    const Vector a = load(from), b = load(from + in_step), c = load(from + 2 * in_step), d = load(from + 3 * in_step);
    const Vector ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5),
                 ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    const Vector cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5),
                 cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    T* to = out + row * out_step + column;
    store(to, __builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5));
    store(to + out_step, __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7));
    store(to + 2 * out_step, __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5));
    store(to + 3 * out_step, __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7));
  }

  // 8 x 8: pairs of columns, then of pairs, then of fours are interleaved.
  void run_byte_tile(int64_t row, int64_t column) const {
    const T* from = in + column * in_step + row;
    const auto pair = [&](int64_t c) {
      Bytes both{};
      __builtin_memcpy(&both, from + c * in_step, 8);
      __builtin_memcpy(reinterpret_cast<char*>(&both) + 8, from + (c + 1) * in_step, 8);
      return __builtin_shufflevector(both, both, 0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
    };
    const auto low_pairs = [](const Bytes& a, const Bytes& b) {
      return __builtin_shufflevector(a, b, 0, 1, 16, 17, 2, 3, 18, 19, 4, 5, 20, 21, 6, 7, 22, 23);
    };
    const auto high_pairs = [](const Bytes& a, const Bytes& b) {
      return __builtin_shufflevector(a, b, 8, 9, 24, 25, 10, 11, 26, 27, 12, 13, 28, 29, 14, 15, 30, 31);
    };
    const Bytes ab = pair(0), cd = pair(2), ef = pair(4), gh = pair(6);
    const Vector first[] = {as_words(low_pairs(ab, cd)), as_words(high_pairs(ab, cd))};   // columns 0 to 3, four rows
    const Vector second[] = {as_words(low_pairs(ef, gh)), as_words(high_pairs(ef, gh))};  // columns 4 to 7
    T* to = out + row * out_step + column;
    for (int i = 0; i < 2; ++i, to += 4 * out_step) {
      const Vector low = __builtin_shufflevector(first[i], second[i], 0, 4, 1, 5);
      const Vector high = __builtin_shufflevector(first[i], second[i], 2, 6, 3, 7);
      for (int half = 0; half < 2; ++half) {
        __builtin_memcpy(to + half * out_step, reinterpret_cast<const char*>(&low) + 8 * half, 8);
        __builtin_memcpy(to + (2 + half) * out_step, reinterpret_cast<const char*>(&high) + 8 * half, 8);
      }
    }
  }

  static Vector as_words(const Bytes& bytes) {
    Vector words;
    __builtin_memcpy(&words, &bytes, sizeof(words));
    return words;
  }

  // Colour images: three columns to dense rows.
  void interleave(int64_t row) const {
    const T* from = in + row;
    const Vector r = load(from), g = load(from + in_step), b = load(from + 2 * in_step);
    const Vector rg = __builtin_shufflevector(r, g, 0, 4, 1, 5), gb = __builtin_shufflevector(g, b, 1, 5, 2, 6);
    const Vector br = __builtin_shufflevector(b, r, 2, 7, 3, 3);
    T* to = out + 3 * row;
    store(to, __builtin_shufflevector(rg, b, 0, 1, 4, 2));
    store(to + 4, __builtin_shufflevector(gb, r, 0, 1, 6, 2));
    store(to + 8, __builtin_shufflevector(br, g, 0, 1, 7, 2));
  }

  // Two columns to dense rows, as channels of two groups are shuffled: vectors of each, the last ones, once more,
  // together with some before them.
  void interleave_two(int64_t rows) const {
    constexpr int64_t kCount = 16 / static_cast<int64_t>(sizeof(T));
    const auto run_vectors = [this](int64_t row) {
      interleave_vectors(in + row, in + in_step + row, out + 2 * row, std::make_index_sequence<kCount>());
    };
    int64_t row = 0;
    for (; row + kCount <= rows; row += kCount) run_vectors(row);
    if (row < rows && rows >= kCount) return run_vectors(rows - kCount);
    for (; row < rows; ++row) {
      out[2 * row] = in[row];
      out[2 * row + 1] = in[in_step + row];
    }
  }

  template <size_t... i>
  static void interleave_vectors(const T* first, const T* second, T* to, std::index_sequence<i...>) {
    typedef T Elements __attribute__((vector_size(16)));
    constexpr size_t kCount = sizeof...(i);
    Elements a, b;
    __builtin_memcpy(&a, first, sizeof(a));
    __builtin_memcpy(&b, second, sizeof(b));
    const Elements low = __builtin_shufflevector(a, b, (i / 2 + i % 2 * kCount)...);
    const Elements high = __builtin_shufflevector(a, b, (kCount / 2 + i / 2 + i % 2 * kCount)...);
    __builtin_memcpy(to, &low, sizeof(low));
    __builtin_memcpy(to + kCount, &high, sizeof(high));
  }

  static Vector load(const T* p) {
    Vector v;
    __builtin_memcpy(&v, p, sizeof(v));
    return v;
  }
  static void store(T* p, const Vector& v) { __builtin_memcpy(p, &v, sizeof(v)); }
};

}  // namespace thimble::kernels
