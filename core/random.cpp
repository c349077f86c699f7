#include <cmath>
#include <numbers>
#include <numeric>

#include <thimble/core/random.h>

namespace thimble {

namespace {

std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * counter[0], p1 = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(p1 >> 32) ^ counter[1] ^ key0, static_cast<uint32_t>(p1),
               static_cast<uint32_t>(p0 >> 32) ^ counter[3] ^ key1, static_cast<uint32_t>(p0)};
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  return counter;
}

// The counter's upper half tells apart a stream's numbers from the keys that are derived from it.
std::array<uint32_t, 4> block_at(uint64_t key, uint64_t index, uint32_t purpose) {
  return philox({static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32), purpose, 0},
                static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32));
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
