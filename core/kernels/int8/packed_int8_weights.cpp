#include <algorithm>
#include <cstring>
#include <limits>

#include <thimble/core/error.h>
#include <thimble/core/kernels/int8/int8_gemm.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {

constexpr int64_t kPanel = PackedInt8Weights::kPanel, kGroup = 4, kGroupBytes = kPanel * kGroup;

// `count` elements of each channel of a panel; zeros where the group has more, and for channels that there are not.
inline void pack_group(const int8_t* weights, int64_t stride, int64_t channels, int64_t count, int8_t* group) {
  if (count < kGroup || channels < kPanel) std::fill_n(group, kGroupBytes, int8_t{0});
  for (int64_t c = 0; c < channels; ++c)
    std::memcpy(group + c * kGroup, weights + c * stride, static_cast<size_t>(count));
}

// One panel's part of a segment: k elements of channels that lie `stride` apart.
void pack_segment(const int8_t* weights, int64_t stride, int64_t channels, int64_t k, int8_t* panel) {
  const int64_t whole = k / kGroup * kGroup;
  for (int64_t i = 0; i < whole; i += kGroup, panel += kGroupBytes)
    pack_group(weights + i, stride, channels, kGroup, panel);
  if (k > whole) pack_group(weights + whole, stride, channels, k - whole, panel);
}

int32_t sum_of(const int8_t* weights, int64_t count) {
  // So many cannot leave int16, of which a vector instruction adds up twice as many as of int32.
  constexpr int64_t kShort = 256;
  int32_t sum = 0;
  for (int64_t begin = 0; begin < count; begin += kShort) {
    int16_t part = 0;
    for (int64_t i = begin; i < std::min(begin + kShort, count); ++i) part = static_cast<int16_t>(part + weights[i]);
    sum += part;
  }
  return sum;
}

}  // namespace

PackedInt8Weights::PackedInt8Weights(const int8_t* weights, int64_t n, int64_t k, int64_t segments)
    : n_(n), k_(k), segments_(segments) {
  check(n >= 0 && k >= 0 && segments >= 1 && k <= kMaxK / segments, "PackedInt8Weights: [", n, ", ", segments, " * ", k,
        "] is not within [any, ", kMaxK, "]");
  const int64_t bytes = panels() * panel_stride(), segment_bytes = panel_stride() / segments, row = segments * k;
  data_.reset(static_cast<int8_t*>(::operator new[](static_cast<size_t>(bytes + kSlack), kAlignment)));
  std::fill_n(data_.get() + bytes, kSlack, int8_t{0});
  sums_.resize(static_cast<size_t>(n));
  // A model's first answer waits for this, so that the threads share it, and the faults of its fresh pages.
  constexpr int64_t kBytesPerPiece = 64 * 1024;
  const int64_t grain = std::max<int64_t>(1, kBytesPerPiece / std::max<int64_t>(1, panel_stride()));
  parallel_for(panels(), grain, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const int64_t first = p * kPanel, channels = std::min<int64_t>(kPanel, n - first);
      for (int64_t s = 0; s < segments; ++s)
        pack_segment(weights + first * row + s * k, row, channels, k,
                     data_.get() + p * panel_stride() + s * segment_bytes);
      for (int64_t c = first; c < first + channels; ++c) sums_[static_cast<size_t>(c)] = sum_of(weights + c * row, row);
    }
  });
}

std::vector<int32_t> fold_zero_point(std::span<const int32_t> sums, std::span<const int32_t> bias, int32_t zero_point) {
  check<ShapeError>(bias.empty() || bias.size() == sums.size(), "fold_zero_point: bias has ", bias.size(),
                    " elements, weights have ", sums.size(), " output channels");
  std::vector<int32_t> folded(sums.size());
  for (size_t i = 0; i < sums.size(); ++i) {
    const int64_t value = (bias.empty() ? 0 : bias[i]) - int64_t{zero_point} * sums[i];
    check(value >= std::numeric_limits<int32_t>::min() && value <= std::numeric_limits<int32_t>::max(),
          "fold_zero_point: bias of output channel ", i, " becomes ", value, ", which does not fit int32");
    folded[i] = static_cast<int32_t>(value);
  }
  return folded;
}

}  // namespace thimble::kernels
