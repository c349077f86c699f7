// Vectors of floats, for loops that are written once and compiled for each instruction set. A vector type V has
//   Value, Register, kWidth   element type, register, elements in it
//   load(p), load(p, count), store(p, v), store(p, v, count)   count < kWidth: the first count elements
//   zero(), broadcast(p), multiply_add(a, b, c) = a * b + c, add(a, b), max(a, b), min(a, b); of a NaN and another
//   value these are b
// Here the one for every processor: single numbers.
#pragma once

namespace thimble::kernels {
namespace {

template <typename T>
struct Scalar {
  using Value = T;
  using Register = T;
  static constexpr int kWidth = 1;

  static T load(const T* p) { return *p; }
  static T load(const T* p, int) { return *p; }
  static void store(T* p, T v) { *p = v; }
  static void store(T* p, T v, int) { *p = v; }
  static T zero() { return 0; }
  static T broadcast(const T* p) { return *p; }
  static T multiply_add(T a, T b, T c) { return a * b + c; }
  static T add(T a, T b) { return a + b; }
  static T max(T a, T b) { return a > b ? a : b; }
  static T min(T a, T b) { return a < b ? a : b; }
};

}  // namespace
}  // namespace thimble::kernels
