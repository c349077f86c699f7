#include <cmath>
#include <numbers>
#include <numeric>

#include <thimble/core/random.h>

namespace thimble {

namespace {

// kBlocks counters side by side: word w of block b is words[w][b]. The compiler makes vector code of more than one.
template <size_t kBlocks>
using Blocks = std::array<std::array<uint32_t, kBlocks>, 4>;

template <size_t kBlocks>
void philox(Blocks<kBlocks>& c, uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    for (size_t b = 0; b < kBlocks; ++b) {
      const uint64_t p0 = uint64_t{0xD2511F53} * c[0][b], p1 = uint64_t{0xCD9E8D57} * c[2][b];
      c[0][b] = static_cast<uint32_t>(p1 >> 32) ^ c[1][b] ^ key0;
      c[1][b] = static_cast<uint32_t>(p1);
      c[2][b] = static_cast<uint32_t>(p0 >> 32) ^ c[3][b] ^ key1;
      c[3][b] = static_cast<uint32_t>(p0);
    }
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
}

// Consecutive blocks from number `index` on. The counter's upper half tells apart a stream's numbers from the keys that
// are derived from it.
template <size_t kBlocks>
Blocks<kBlocks> blocks_at(uint64_t key, uint64_t index, uint32_t purpose) {
  Blocks<kBlocks> c;
  for (size_t b = 0; b < kBlocks; ++b) {
    c[0][b] = static_cast<uint32_t>(index + b);
    c[1][b] = static_cast<uint32_t>((index + b) >> 32);
    c[2][b] = purpose;
    c[3][b] = 0;
  }
  philox(c, static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32));
  return c;
}

std::array<uint32_t, 4> block_at(uint64_t key, uint64_t index, uint32_t purpose) {
  const Blocks<1> c = blocks_at<1>(key, index, purpose);
  return {c[0][0], c[1][0], c[2][0], c[3][0]};
}

template <typename Draw>
NDArray filled(const Shape& shape, DType dtype, Draw draw) {
  NDArray out(shape, dtype);
  dispatch_float(dtype, "rand", [&](auto tag) {
    using T = typename decltype(tag)::type;
    T* p = out.data<T>();
    for (int64_t i = 0; i < out.numel(); ++i) p[i] = static_cast<T>(draw());
  });
  return out;
}

}  // namespace

Generator Generator::split(uint64_t stream) const {
  const auto b = block_at(state_.key, stream, 1);
  return Generator((uint64_t{b[1]} << 32) | b[0]);
}

void Generator::set_state(const State& state) {
  state_ = state;
  block_valid_ = false;
}

uint32_t Generator::next_uint32() {
  const auto word = static_cast<size_t>(state_.position % 4);
  if (word == 0 || !block_valid_) {
    block_ = block_at(state_.key, state_.position / 4, 0);
    block_valid_ = true;
  }
  ++state_.position;
  return block_[word];
}

void Generator::fill(uint32_t* words, int64_t n) {
  constexpr size_t kBlocks = 32;  // fewer would be unrolled before they can be vectorized
  constexpr int64_t kWords = 4 * kBlocks;
  for (; n > 0 && state_.position % 4 != 0; --n) *words++ = next_uint32();
  for (; n >= kWords; n -= kWords, words += kWords) {
    const Blocks<kBlocks> c = blocks_at<kBlocks>(state_.key, state_.position / 4, 0);
    for (size_t b = 0; b < kBlocks; ++b)
      for (size_t w = 0; w < 4; ++w) words[4 * b + w] = c[w][b];
    state_.position += static_cast<uint64_t>(kWords);
  }
  for (; n > 0; --n) *words++ = next_uint32();
}

uint64_t Generator::below(uint64_t n) {
  check<ValueError>(n > 0, "below: n is 0");
  // Rejects the incomplete last multiple of n, so that no value is favoured.
  const uint64_t excess = (UINT64_MAX % n + 1) % n;
  uint64_t value;
  do {
    const uint64_t high = next_uint32();
    value = (high << 32) | next_uint32();
  } while (value > UINT64_MAX - excess);
  return value % n;
}

double Generator::normal() {
  const double u = 1.0 - uniform(), v = uniform();  // u in (0, 1]: its logarithm is finite
  return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v);
}

std::vector<int64_t> Generator::permutation(int64_t n) {
  check<ValueError>(n >= 0, "permutation: ", n, " is negative");
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[static_cast<size_t>(below(i))]);
  return order;
}

NDArray rand(const Shape& shape, Generator& generator, DType dtype) {
  return filled(shape, dtype, [&] { return generator.uniform(); });
}

NDArray randn(const Shape& shape, Generator& generator, DType dtype) {
  return filled(shape, dtype, [&] { return generator.normal(); });
}

Generator& default_generator() {
  thread_local Generator generator;
  return generator;
}

void manual_seed(uint64_t seed) { default_generator() = Generator(seed); }

}  // namespace thimble
