#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include <thimble/core/kernels/image/resize.h>
#include <thimble/core/kernels/image/resize_rows.h>
#include <thimble/core/kernels/kernel_list.h>
#include <thimble/core/kernels/scratch.h>
#include <thimble/core/parallel.h>

namespace thimble::kernels {

namespace {

constexpr int64_t kResizeGrain = 8192;  // outputs that are worth another thread
constexpr int64_t kFewChannels = 16;    // of which pixels are no vectors

constexpr KernelOf<const ResizeTable*> kResizeKernels[] = {
    THIMBLE_X86_KERNELS({Isa::avx512, &resize_avx512}, {Isa::avx2, &resize_avx2}){Isa::scalar, &resize_scalar}};

const ResizeLoops<float>& resize_loops(float) { return best_kernel<kResizeKernels>()->of_float; }
const ResizeLoops<uint8_t>& resize_loops(uint8_t) { return best_kernel<kResizeKernels>()->of_uint8; }

int64_t taps_of(const ResizeAxis& axis, int64_t i) {
  return axis.starts[static_cast<size_t>(i) + 1] - axis.starts[static_cast<size_t>(i)];
}

int64_t most_taps(const ResizeAxis& axis) {
  int64_t most = 0;
  for (int64_t i = 0; i < axis.out(); ++i) most = std::max(most, taps_of(axis, i));
  return most;
}

}  // namespace

ImageResize::ImageResize(ResizeAxis rows, ResizeAxis columns, int64_t channels)
    : rows_(std::move(rows)), columns_(std::move(columns)), channels_(channels) {
  const bool fits = std::max(columns_.in, columns_.out()) * channels <= std::numeric_limits<int32_t>::max();
  if (channels >= kFewChannels || most_taps(columns_) > 2 || !fits) {
    find_fixed_weights();
    return;
  }
  for (int64_t j = 0; j < columns_.out(); ++j) {
    const auto entry = static_cast<size_t>(columns_.starts[static_cast<size_t>(j)]);
    const bool is_one = taps_of(columns_, j) == 1;
    for (int64_t c = 0; c < channels; ++c) {
      const auto place = [&](size_t e) { return static_cast<int32_t>(columns_.index[e] * channels + c); };
      first_.push_back(place(entry));
      of_first_.push_back(columns_.weight[entry]);
      second_.push_back(is_one ? first_.back() : place(entry + 1));
      of_second_.push_back(is_one ? 0 : columns_.weight[entry + 1]);
    }
  }
}

// To twice the size, say.
void ImageResize::find_fixed_weights() {
  constexpr int kMostShift = 4;
  const auto are_multiples = [](const ResizeAxis& axis, float unit) {
    return std::ranges::all_of(axis.weight, [=](float w) { return w >= 0 && std::floor(w * unit) == w * unit; });
  };
  const auto in_units = [](const ResizeAxis& axis, float unit) {
    std::vector<uint16_t> weights;
    for (const float w : axis.weight) weights.push_back(static_cast<uint16_t>(w * unit));
    return weights;
  };
  for (int shift = 1; shift <= kMostShift; ++shift) {
    const float unit = std::ldexp(1.0f, shift);
    if (!are_multiples(rows_, unit) || !are_multiples(columns_, unit)) continue;
    shift_ = shift;
    fixed_rows_ = in_units(rows_, unit);
    fixed_columns_ = in_units(columns_, unit);
    return;
  }
}

// Calls body(inputs, entry, count, blended, to) for each row of outputs: its input rows, which are `count` entries of
// rows_ from `entry` on, memory for their sum, and where it lies.
template <typename Sum, typename T, typename Body>
void ImageResize::for_each_row(const T* x, int64_t images, T* y, Body&& body) const {
  const int64_t in_row = columns_.in * channels_, out_row = columns_.out() * channels_, height = rows_.out();
  const int64_t taps = most_taps(rows_);
  parallel_for(images * height, kResizeGrain / std::max<int64_t>(1, out_row) + 1, [&](int64_t begin, int64_t end) {
    auto* blended = thread_scratch_of<Sum>(ScratchUse::rows, in_row);
    auto** inputs = thread_scratch_of<const T*>(ScratchUse::offsets, taps);
    for (int64_t i = begin; i < end; ++i) {
      const T* image = x + i / height * rows_.in * in_row;
      const auto entry = static_cast<size_t>(rows_.starts[static_cast<size_t>(i % height)]);
      const int64_t count = taps_of(rows_, i % height);
      for (int64_t t = 0; t < count; ++t) inputs[t] = image + rows_.index[entry + static_cast<size_t>(t)] * in_row;
      body(inputs, entry, count, blended, y + i * out_row);
    }
  });
}

void ImageResize::run_fixed(const uint8_t* x, int64_t images, uint8_t* y) const {
  const ResizeFixedLoops& loops = best_kernel<kResizeKernels>()->fixed;
  const ResizeFixedColumns columns{.starts = columns_.starts.data(),
                                   .index = columns_.index.data(),
                                   .weight = fixed_columns_.data(),
                                   .out = columns_.out(),
                                   .channels = channels_,
                                   .shift = shift_};
  const auto blend = [&](const uint8_t* const* inputs, size_t entry, int64_t count, uint16_t* blended, uint8_t* to) {
    loops.blend_rows(inputs, &fixed_rows_[entry], count, columns_.in * channels_, blended);
    loops.blend_pixels(blended, columns, to);
  };
  for_each_row<uint16_t>(x, images, y, blend);
}

template <typename T>
void ImageResize::run_in_floats(const T* x, int64_t images, T* y) const {
  const bool few = !first_.empty();
  const ResizeColumns columns{.starts = columns_.starts.data(),
                              .index = columns_.index.data(),
                              .weight = columns_.weight.data(),
                              .out = columns_.out(),
                              .channels = channels_,
                              .first = few ? first_.data() : nullptr,
                              .second = few ? second_.data() : nullptr,
                              .of_first = few ? of_first_.data() : nullptr,
                              .of_second = few ? of_second_.data() : nullptr};
  const ResizeLoops<T>& loops = resize_loops(T{});
  const auto blend = [&](const T* const* inputs, size_t entry, int64_t count, float* blended, T* to) {
    loops.blend_rows(inputs, &rows_.weight[entry], count, columns_.in * channels_, blended);
    loops.blend_pixels(blended, columns, to);
  };
  for_each_row<float>(x, images, y, blend);
}

void ImageResize::run(const float* x, int64_t images, float* y) const { run_in_floats(x, images, y); }

void ImageResize::run(const uint8_t* x, int64_t images, uint8_t* y) const {
  shift_ > 0 ? run_fixed(x, images, y) : run_in_floats(x, images, y);
}

namespace {

// Neighbours that stay neighbours go together.
void pick_columns(const char* row, int64_t pixel_bytes, const std::vector<int64_t>& columns, char* to) {
  for (size_t begin = 0, end = 0; begin < columns.size(); begin = end) {
    for (end = begin + 1; end < columns.size() && columns[end] == columns[end - 1] + 1;) ++end;
    const int64_t bytes = static_cast<int64_t>(end - begin) * pixel_bytes;
    std::memcpy(to, row + columns[begin] * pixel_bytes, static_cast<size_t>(bytes));
    to += bytes;
  }
}

}  // namespace

void pick_pixels(const void* x, int64_t images, int64_t height, int64_t width, int64_t pixel_bytes,
                 const std::vector<int64_t>& rows, const std::vector<int64_t>& columns, void* y) {
  const auto out_height = static_cast<int64_t>(rows.size());
  const int64_t row_bytes = static_cast<int64_t>(columns.size()) * pixel_bytes;
  const int64_t grain = kResizeGrain / std::max<int64_t>(1, row_bytes) + 1;
  parallel_for(images * out_height, grain, [&](int64_t begin, int64_t end) {
    const char* last = nullptr;  // what the row before was made of
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i / out_height * height + rows[static_cast<size_t>(i % out_height)];
      const char* from = static_cast<const char*>(x) + row * width * pixel_bytes;
      char* to = static_cast<char*>(y) + i * row_bytes;
      if (from == last)
        std::memcpy(to, to - row_bytes, static_cast<size_t>(row_bytes));
      else
        pick_columns(from, pixel_bytes, columns, to);
      last = from;
    }
  });
}

}  // namespace thimble::kernels
