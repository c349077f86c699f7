#include <cstddef>
#include <cstring>

#include <thimble/core/kernels/elementwise/copy_rows.h>

namespace thimble::kernels {

namespace {

constexpr int64_t kBytesAtOnce = 16, kLong = 512;  // from here on calling memcpy costs nothing

template <size_t kBytes>
[[gnu::always_inline]] inline void copy_bytes(const char* from, char* to) {
  std::memcpy(to, from, kBytes);  // one or two instructions
}

// All sizes from kBytes to twice as many.
template <size_t kBytes>
[[gnu::always_inline]] inline void copy_both_ends(const char* from, char* to, int64_t bytes) {
  constexpr auto kEnd = static_cast<int64_t>(kBytes);
  const auto copy_end = [=](int64_t at) { copy_bytes<kBytes>(from + at, to + at); };
  copy_end(0);
  copy_end(bytes - kEnd);
}

// Sixteen bytes at a time; the last ones, once more, together with some before them.
[[gnu::always_inline]] inline void copy_short(const char* from, char* to, int64_t bytes) {
  for (int64_t i = 0; i + kBytesAtOnce <= bytes; i += kBytesAtOnce) copy_bytes<kBytesAtOnce>(from + i, to + i);
  copy_bytes<kBytesAtOnce>(from + bytes - kBytesAtOnce, to + bytes - kBytesAtOnce);
}

template <typename Copy>
[[gnu::always_inline]] inline void for_each_row(const void* from, int64_t from_step, void* to, int64_t to_step,
                                                int64_t rows, Copy&& copy) {
  const auto* source = static_cast<const char*>(from);
  auto* target = static_cast<char*>(to);
  for (int64_t row = 0; row < rows; ++row, source += from_step, target += to_step) copy(source, target);
}

}  // namespace

void copy_rows(const void* from, int64_t from_step, void* to, int64_t to_step, int64_t bytes, int64_t rows) {
  const auto each = [&](auto&& copy) __attribute__((always_inline)) {
    for_each_row(from, from_step, to, to_step, rows, copy);
  };
  if (from_step == bytes && to_step == bytes)
    std::memcpy(to, from, static_cast<size_t>(bytes * rows));
  else if (bytes >= kLong)
    each([=](const char* source, char* target) { std::memcpy(target, source, static_cast<size_t>(bytes)); });
  else if (bytes >= kBytesAtOnce)
    each([=](const char* source, char* target) { copy_short(source, target, bytes); });
  else if (bytes >= 8)
    each([=](const char* source, char* target) { copy_both_ends<8>(source, target, bytes); });
  else if (bytes >= 4)
    each([=](const char* source, char* target) { copy_both_ends<4>(source, target, bytes); });
  else if (bytes >= 2)
    each([=](const char* source, char* target) { copy_both_ends<2>(source, target, bytes); });
  else if (bytes == 1)
    each([](const char* source, char* target) { *target = *source; });
}

}  // namespace thimble::kernels
