// The counter-based random generator: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
// 2011).
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/core/ndarray.h>

namespace thimble {

/// A stream of random numbers, given by a 64-bit key and a position in it. Copies continue independently from the same
/// place; split() gives streams that do not overlap. The same key and calls give the same numbers on every machine
/// (normal() as far as the C library's log, sin and cos do).
class THIMBLE_API Generator {
 public:
  /// Key and position, all that there is to save.
  struct State {
    uint64_t key = 0;
    uint64_t position = 0;
    friend bool operator==(const State&, const State&) = default;
  };

  explicit Generator(uint64_t seed = 0) : state_{seed, 0} {}

  /// A generator with a key derived from this one's key and `stream`; this one does not move.
  Generator split(uint64_t stream) const;

  State state() const { return state_; }
  void set_state(const State& state);

  uint32_t next_uint32();
  /// Fills `words` with the numbers that n calls of next_uint32() would give, several at a time.
  void fill(uint32_t* words, int64_t n);
  /// Uniform over [0, n); throws ValueError for n = 0.
  uint64_t below(uint64_t n);
  /// Uniform over [0, 1).
  double uniform() { return (next_uint32() >> 8) * 0x1p-24; }
  /// Standard normal (Box-Muller).
  double normal();
  /// 0, ..., n-1 in random order (Fisher-Yates). Throws ValueError for a negative n.
  std::vector<int64_t> permutation(int64_t n);

 private:
  State state_;  // position counts 32-bit words
  std::array<uint32_t, 4> block_{};
  bool block_valid_ = false;
};

/// Arrays of random numbers, contiguous, float32 or float64.
THIMBLE_API NDArray rand(const Shape& shape, Generator& generator, DType dtype = DType::float32);
THIMBLE_API NDArray randn(const Shape& shape, Generator& generator, DType dtype = DType::float32);

/// The generator that initializers and dropout use if they are given none. One for each thread, so that a program's
/// main thread is reproducible whatever others do.
THIMBLE_API Generator& default_generator();

/// Starts this thread's default generator anew.
THIMBLE_API void manual_seed(uint64_t seed);

}  // namespace thimble
