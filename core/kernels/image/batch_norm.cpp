#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include <thimble/core/kernels/elementwise/bf16_rows.h>
#include <thimble/core/kernels/image/batch_norm.h>
#include <thimble/core/kernels/kernel_list.h>
#include <thimble/core/kernels/reduce/shards.h>
#include <thimble/core/kernels/rounding.h>
#include <thimble/core/kernels/scratch.h>
#include <thimble/core/ndarray.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {

// Elements worth another thread, and of a block: few enough for the cache, enough that combining blocks costs little.
constexpr int64_t kGrain = 32768, kBlock = 4096;
// Blocks of a shard are summed up in at most this many pieces, whatever the number of threads.
constexpr int64_t kMostPieces = 8;

constexpr KernelOf<const BatchNormTable*> kKernels[] = {THIMBLE_X86_KERNELS(
    {Isa::avx512, &batch_norm_avx512}, {Isa::avx2, &batch_norm_avx2}){Isa::scalar, &batch_norm_scalar}};

const BatchNormTable& table() { return *best_kernel<kKernels>(); }

const BatchNormRows<float>& rows_of(float) { return table().float32; }
const BatchNormRows<double>& rows_of(double) { return table().float64; }

// How the pixels of samples, which are rows, are cut into pieces for threads, none of which reaches from a shard of the
// batch into the next, and pieces into blocks. Rows of few channels are taken several at a time, as one row of `width`
// elements that fills vectors.
struct Blocking {
  Shards shards;
  int64_t pixels, rows, channels, repeats = 1, width, block_rows, shard_pieces, pieces;

  Blocking(int64_t samples, int64_t sample_pixels, int64_t all_channels)
      : shards(samples), pixels(sample_pixels), rows(samples * sample_pixels), channels(all_channels) {
    constexpr int64_t kLanes = 64;
    if (channels < kLanes) {
      repeats = 16 / std::gcd(channels, int64_t{16});
      while (repeats * channels < kLanes) repeats *= 2;
    }
    width = repeats * channels;
    block_rows = repeats * std::max<int64_t>(64, kBlock / width);
    shard_pieces = std::clamp<int64_t>(shards.size() * pixels / block_rows, 1, kMostPieces);
    pieces = shards.count() * shard_pieces;
  }

  int64_t begin_of(int64_t piece) const {
    const int64_t shard = piece / shard_pieces, first = shards.begin(shard) * pixels;
    return first + (shards.end(shard) * pixels - first) * (piece % shard_pieces) / shard_pieces;
  }
  int64_t size_of(int64_t piece) const { return begin_of(piece + 1) - begin_of(piece); }

  // Calls merge(piece, other) so that the first piece gets to know all: a shard's in turn, then shards as their tree.
  template <typename Merge>
  void merge_pieces(Merge&& merge) const {
    for (int64_t piece = 0; piece < pieces; ++piece)
      if (piece % shard_pieces != 0) merge(piece - piece % shard_pieces, piece);
    for (int64_t step = shard_pieces; step < pieces; step *= 2)
      for (int64_t piece = 0; piece + step < pieces; piece += 2 * step) merge(piece, piece + step);
  }

  // Calls body(piece) in parallel.
  template <typename Body>
  void for_each_piece(Body&& body) const {
    const int64_t elements = rows / pieces * channels;
    parallel_for(pieces, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, elements)),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t piece = begin; piece < end; ++piece) body(piece);
                 });
  }

  // Calls body(first row, rows) for each block of a piece.
  template <typename Body>
  void for_each_block(int64_t piece, Body&& body) const {
    // Of nearly equal size, none of a few rows only.
    const int64_t end = begin_of(piece + 1), size = size_of(piece), blocks = std::max<int64_t>(1, size / block_rows),
                  step = round_up(ceil_div(size, blocks), repeats);
    for (int64_t row = begin_of(piece); row < end; row += step) body(row, std::min(step, end - row));
  }

  // Calls body(tile, first element) for a block's wide rows, and for the rows left over.
  template <typename Body>
  void for_each_tile(int64_t first_row, int64_t count, Body&& body) const {
    const int64_t wide = count / repeats, left = count % repeats;
    if (wide > 0) body(BatchNormTile{wide, width}, first_row * channels);
    if (left > 0) body(BatchNormTile{left, channels}, (first_row + wide * repeats) * channels);
  }

  template <typename Body>
  void for_each_tile(Body&& body) const {
    for_each_piece([&](int64_t piece) {
      for_each_block(piece, [&](int64_t row, int64_t count) { for_each_tile(row, count, body); });
    });
  }

  // The sum of a wide row's elements that belong to a channel.
  template <typename T>
  double fold(const T* wide, int64_t channel) const {
    double sum = 0;
    for (int64_t i = channel; i < width; i += channels) sum += static_cast<double>(wide[i]);
    return sum;
  }
};

// Tiles of images as the loops see them: those of bfloat16 are widened a part at a time, so that it stays in the first
// level cache.
template <typename S>
class Widened {
 public:
  using T = ComputedIn<S>;

  Widened(const BatchNormTile& t, int64_t at) : width_(t.width), part_(t.rows), row_(0), rows_(t.rows), at_(at) {
    if constexpr (kWidens) {
      constexpr int64_t kElements = 4096;
      part_ = std::min(t.rows, std::max<int64_t>(1, kElements / t.width));
      memory_ = thread_scratch_of<float>(ScratchUse::rows, 3 * part_ * width_);
    }
  }

  // Calls body(part of the tile, its first element).
  template <typename Body>
  void for_each_part(Body&& body) {
    for (; row_ < rows_; row_ += part_) body(part(), at_ + row_ * width_);
  }

  // The part's elements of an array; two can be asked for.
  const T* load(const S* x, int64_t at, int64_t number = 0) const {
    if constexpr (kWidens) {
      float* to = memory_ + number * part_ * width_;
      bf16_rows().widen(reinterpret_cast<const uint16_t*>(x + at), part().rows * width_, to);
      return to;
    } else {
      return x + at;
    }
  }

  // Where the loops may write what store() will take to an array.
  T* result(S* y, int64_t at) const {
    if constexpr (kWidens)
      return memory_ + 2 * part_ * width_;
    else
      return y + at;
  }
  void store(S* y, int64_t at) const {
    if constexpr (kWidens)
      bf16_rows().round(memory_ + 2 * part_ * width_, part().rows * width_, reinterpret_cast<uint16_t*>(y + at));
  }

 private:
  static constexpr bool kWidens = !std::is_same_v<S, T>;

  BatchNormTile part() const { return {std::min(part_, rows_ - row_), width_}; }

  int64_t width_, part_, row_, rows_, at_;
  float* memory_ = nullptr;
};

// Calls body(widened, part of the tile, its first element).
template <typename S, typename Body>
void in_parts(const BatchNormTile& tile, int64_t at, Body&& body) {
  Widened<S> widened(tile, at);
  widened.for_each_part([&](const BatchNormTile& part, int64_t first) { body(widened, part, first); });
}

// Per-channel numbers for each element of a wide row.
template <typename T>
class Repeated {
 public:
  Repeated(const Blocking& blocking, const ChannelMap<T>& map, const T* offset = nullptr, const T* slope = nullptr)
      : width_(blocking.width), memory_({5, blocking.width}, dtype_of<T>) {
    const T* arrays[] = {map.mean, map.scale, map.shift, offset, slope};
    for (int64_t a = 0; a < 5; ++a)
      if (arrays[a])
        for (int64_t i = 0; i < width_; i += blocking.channels) std::copy_n(arrays[a], blocking.channels, row(a) + i);
    map_ = {row(0), row(1), row(2), map.relu};
  }
  const ChannelMap<T>& map() const { return map_; }
  const T* offset() { return row(3); }
  const T* slope() { return row(4); }

 private:
  T* row(int64_t i) { return memory_.data<T>() + i * width_; }

  int64_t width_;
  NDArray memory_;
  ChannelMap<T> map_;
};

// Takes the mean and the sum of squared deviations of other rows into those of `rows` (Chan et al. 1979).
class MomentsMerge {
 public:
  MomentsMerge(int64_t rows, int64_t other_rows)
      : share_(static_cast<double>(other_rows) / static_cast<double>(rows + other_rows)),
        weight_(static_cast<double>(rows) * share_) {}

  void operator()(double& mean, double& squares, double other_mean, double other_squares) const {
    const double difference = other_mean - mean;
    mean += difference * share_;
    squares += other_squares + difference * difference * weight_;
  }

 private:
  double share_, weight_;
};

// Whether sums in T lost nothing: no square overflowed, and the mean's own rounding is far below the deviations.
template <typename T>
bool is_accurate(T mean, double squares, int64_t rows) {
  const double rounding = 64 * double{std::numeric_limits<T>::epsilon()} * static_cast<double>(mean);
  return std::isfinite(squares) && squares >= static_cast<double>(rows) * rounding * rounding;
}

// The moments of one channel of a block, in float64.
template <typename S>
std::pair<double, double> wide_moments(const S* x, int64_t rows, int64_t channels) {
  double sum = 0, squares = 0;
  for (int64_t r = 0; r < rows; ++r) sum += static_cast<double>(x[r * channels]);
  const double mean = sum / static_cast<double>(rows);
  for (int64_t r = 0; r < rows; ++r) {
    const double deviation = static_cast<double>(x[r * channels]) - mean;
    squares += deviation * deviation;
  }
  return {mean, squares};
}

// To mean and squares, which are 0.
template <typename S, typename T = ComputedIn<S>>
void moments_of_piece(const Blocking& b, int64_t piece, const S* x, double* mean, double* squared_deviations) {
  const BatchNormRows<T>& loops = rows_of(T{});
  T *sums = thread_scratch_of<T>(ScratchUse::sums, 3 * b.width), *centers = sums + b.width,
    *squares = centers + b.width;
  b.for_each_block(piece, [&](int64_t row, int64_t count) {
    std::fill_n(sums, b.width, T{0});
    std::fill_n(squares, b.width, T{0});
    b.for_each_tile(row, count, [&](const BatchNormTile& tile, int64_t first) {
      in_parts<S>(tile, first, [&](const Widened<S>& wide, const BatchNormTile& t, int64_t at) {
        loops.add_sums(t, wide.load(x, at), sums);
      });
    });
    for (int64_t c = 0; c < b.channels; ++c) centers[c] = static_cast<T>(b.fold(sums, c) / static_cast<double>(count));
    for (int64_t i = b.channels; i < b.width; ++i) centers[i] = centers[i - b.channels];
    b.for_each_tile(row, count, [&](const BatchNormTile& tile, int64_t first) {
      in_parts<S>(tile, first, [&](const Widened<S>& wide, const BatchNormTile& t, int64_t at) {
        loops.add_squares(t, wide.load(x, at), centers, squares);
      });
    });
    const MomentsMerge merge(row - b.begin_of(piece), count);
    for (int64_t c = 0; c < b.channels; ++c) {
      std::pair<double, double> moments(static_cast<double>(centers[c]), b.fold(squares, c));
      if (!is_accurate(centers[c], moments.second, count))
        moments = wide_moments(x + row * b.channels + c, count, b.channels);
      merge(mean[c], squared_deviations[c], moments.first, moments.second);
    }
  });
}

}  // namespace

template <typename S>
void channel_moments(const S* x, int64_t samples, int64_t pixels, int64_t channels, double* mean, double* variance) {
  const Blocking b(samples, pixels, channels);
  NDArray memory = NDArray::zeros({b.pieces, 2, channels}, DType::float64);
  const auto mean_of = [&, all = memory.data<double>()](int64_t piece) { return all + 2 * piece * channels; };
  b.for_each_piece([&](int64_t piece) { moments_of_piece(b, piece, x, mean_of(piece), mean_of(piece) + channels); });
  std::array<int64_t, kMostPieces * kBatchShards> rows;
  for (int64_t piece = 0; piece < b.pieces; ++piece) rows[static_cast<size_t>(piece)] = b.size_of(piece);
  b.merge_pieces([&](int64_t piece, int64_t other) {
    int64_t &own = rows[static_cast<size_t>(piece)], others = rows[static_cast<size_t>(other)];
    if (others == 0) return;
    const MomentsMerge merge(own, others);
    own += others;
    double *means = mean_of(piece), *other_means = mean_of(other);
    for (int64_t c = 0; c < channels; ++c)
      merge(means[c], means[channels + c], other_means[c], other_means[channels + c]);
  });
  std::copy_n(mean_of(0), channels, mean);
  for (int64_t c = 0; c < channels; ++c) variance[c] = mean_of(0)[channels + c] / static_cast<double>(b.rows);
}

template <typename S, typename T>
void map_channels(const S* x, int64_t rows, int64_t channels, const ChannelMap<T>& map, S* y) {
  const Blocking b(rows, 1, channels);
  const Repeated<T> repeated(b, map);
  const auto loop = rows_of(T{}).map;
  b.for_each_tile([&](const BatchNormTile& tile, int64_t first) {
    in_parts<S>(tile, first, [&](const Widened<S>& wide, const BatchNormTile& t, int64_t at) {
      loop(t, wide.load(x, at), repeated.map(), wide.result(y, at));
      wide.store(y, at);
    });
  });
}

namespace {

// The sum of dz * (x - mean) over a block's rows of one channel, in float64.
template <typename S, typename T = ComputedIn<S>>
double wide_products(const S* x, const S* dy, int64_t rows, int64_t channels, const ChannelMap<T>& map, int64_t c) {
  double sum = 0;
  for (int64_t i = c; i < rows * channels; i += channels) {
    const T deviation = static_cast<T>(x[i]) - map.mean[c], z = deviation * map.scale[c] + map.shift[c];
    if (!map.relu || !(z <= 0)) sum += static_cast<double>(dy[i]) * static_cast<double>(deviation);
  }
  return sum;
}

}  // namespace

template <typename S, typename T>
void batch_norm_gradient_sums(const S* x, const S* dy, int64_t samples, int64_t pixels, int64_t channels,
                              const ChannelMap<T>& map, double* sums, double* products) {
  const Blocking b(samples, pixels, channels);
  const Repeated<T> repeated(b, map);
  const auto loop = rows_of(T{}).add_gradients;
  NDArray memory = NDArray::zeros({b.pieces, 2, channels}, DType::float64);
  double* partial = memory.data<double>();
  b.for_each_piece([&](int64_t piece) {
    double *piece_sums = partial + 2 * piece * channels, *piece_products = piece_sums + channels;
    T *block_sums = thread_scratch_of<T>(ScratchUse::sums, 2 * b.width), *block_products = block_sums + b.width;
    b.for_each_block(piece, [&](int64_t row, int64_t count) {
      std::fill_n(block_sums, 2 * b.width, T{0});
      b.for_each_tile(row, count, [&](const BatchNormTile& tile, int64_t first) {
        in_parts<S>(tile, first, [&](const Widened<S>& wide, const BatchNormTile& t, int64_t at) {
          loop(t, wide.load(x, at), wide.load(dy, at, 1), repeated.map(), block_sums, block_products);
        });
      });
      for (int64_t c = 0; c < channels; ++c) {
        piece_sums[c] += b.fold(block_sums, c);
        const double products_of_block = b.fold(block_products, c);
        piece_products[c] += std::isfinite(products_of_block)
                                 ? products_of_block
                                 : wide_products(x + row * channels, dy + row * channels, count, channels, map, c);
      }
    });
  });
  b.merge_pieces([&](int64_t piece, int64_t other) {
    double *own = partial + 2 * piece * channels, *others = partial + 2 * other * channels;
    for (int64_t i = 0; i < 2 * channels; ++i) own[i] += others[i];
  });
  std::copy_n(partial, channels, sums);
  std::copy_n(partial + channels, channels, products);
}

template <typename S, typename T>
void batch_norm_input_gradient(const S* x, const S* dy, int64_t rows, int64_t channels, const ChannelMap<T>& map,
                               const T* offset, const T* slope, S* dx) {
  const Blocking b(rows, 1, channels);
  Repeated<T> repeated(b, map, offset, slope);
  const auto loop = rows_of(T{}).input_gradient;
  b.for_each_tile([&](const BatchNormTile& tile, int64_t first) {
    in_parts<S>(tile, first, [&](const Widened<S>& wide, const BatchNormTile& t, int64_t at) {
      loop(t, wide.load(x, at), wide.load(dy, at, 1), repeated.map(), repeated.offset(), repeated.slope(),
           wide.result(dx, at));
      wide.store(dx, at);
    });
  });
}

template void channel_moments(const float*, int64_t, int64_t, int64_t, double*, double*);
template void channel_moments(const double*, int64_t, int64_t, int64_t, double*, double*);
template void map_channels(const float*, int64_t, int64_t, const ChannelMap<float>&, float*);
template void map_channels(const double*, int64_t, int64_t, const ChannelMap<double>&, double*);
template void batch_norm_gradient_sums(const float*, const float*, int64_t, int64_t, int64_t, const ChannelMap<float>&,
                                       double*, double*);
template void batch_norm_gradient_sums(const double*, const double*, int64_t, int64_t, int64_t,
                                       const ChannelMap<double>&, double*, double*);
template void batch_norm_input_gradient(const float*, const float*, int64_t, int64_t, const ChannelMap<float>&,
                                        const float*, const float*, float*);
template void batch_norm_input_gradient(const double*, const double*, int64_t, int64_t, const ChannelMap<double>&,
                                        const double*, const double*, double*);
template void channel_moments(const bfloat16*, int64_t, int64_t, int64_t, double*, double*);
template void map_channels(const bfloat16*, int64_t, int64_t, const ChannelMap<float>&, bfloat16*);
template void batch_norm_gradient_sums(const bfloat16*, const bfloat16*, int64_t, int64_t, int64_t,
                                       const ChannelMap<float>&, double*, double*);
template void batch_norm_input_gradient(const bfloat16*, const bfloat16*, int64_t, int64_t, const ChannelMap<float>&,
                                        const float*, const float*, bfloat16*);

}  // namespace thimble::kernels
